"""A recipe as the specification of a job on this machine."""

from cli.recipe import Recipe, moved, uploads
from cli.validation import check
from jobs.errors import FieldError, InvalidSpec
from jobs.sources import FileData
from jobs.specs import JobSpec


def read_here(recipe: Recipe) -> JobSpec:
    """The specification, with texts read where they are.

    Raises:
        InvalidSpec: a field is wrong, or names a file that only a service has.
    """
    for parent, key, path in list(uploads(recipe)):
        parent[key] = moved(parent[key], {"source": "local", "path": str(path)})
    spec = check(recipe)
    for pointer, source in spec.texts.items():
        if isinstance(source, FileData):
            error = FieldError(
                pointer=f"{pointer}/source", code="no_service", detail="only a service has uploaded files"
            )
            raise InvalidSpec("There is no service here.", hint="Name a file on this machine.", errors=(error,))
    return spec
