"""Which uploaded files a job names: they must stay for as long as it may read them."""

from sqlalchemy import ColumnElement, cast, func
from sqlalchemy.dialects.postgresql import JSONPATH
from sqlalchemy.sql.elements import SQLCoreOperations

from jobs.tables import JobRow

PATH = '$.** ? (@.source == "file").id'


def names(file_id: SQLCoreOperations[str]) -> ColumnElement[bool]:
    """Whether a job's request names this file, wherever in it."""
    found = func.jsonb_path_query_array(JobRow.spec, cast(PATH, JSONPATH))
    return found.op("@>")(func.to_jsonb(file_id))
