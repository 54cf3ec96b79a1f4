"""`python -m app.dry_run SPEC.json`: what the door would say to a job, without a service; no weight is read.

One JSON object comes out: {"plan": …}, with null for a model that could not be looked at from here, or {"problem": …}.
"""

import json
import sys
from pathlib import Path

from pydantic import SecretStr

from app import intake
from app.deps import open_door
from jobs.errors import BaseModelUnavailable, DatasetNotFound, PruneryError
from jobs.settings import Settings
from jobs.sources import DataSource, GgufModel, ModelSource, RegistryModel, S3Data, S3Model
from jobs.specs import JobSpec
from jobs.tables import DEFAULT_PROJECT

ELSEWHERE = "is held by the service, which is not asked here."
ASK = "ask the service: POST /v1/compression/estimates."


def main(path: str) -> int:
    """0 if the job can be planned, 1 if not."""
    spec = JobSpec.model_validate_json(Path(path).read_bytes())
    try:
        _refuse_what_the_service_holds(spec)
        _, plan = intake.check(spec, open_door(_without_service()), DEFAULT_PROJECT)
    except PruneryError as error:
        sys.stdout.write(json.dumps({"problem": _problem(error)}))
        return 1
    sys.stdout.write(json.dumps({"plan": plan and plan.model_dump()}))
    return 0


def _refuse_what_the_service_holds(spec: JobSpec) -> None:
    if name := _name_there(spec.base_model):
        raise BaseModelUnavailable(f"{name} {ELSEWHERE}", hint=f"Download it and name the folder, or {ASK}")
    for source in spec.texts.values():
        if name := _name_there(source):
            raise DatasetNotFound(f"{name} {ELSEWHERE}", hint=f"Name a file of this machine, or {ASK}")


def _name_there(source: ModelSource | DataSource) -> str | None:
    """By which the service knows it, if this machine does not have it."""
    match source:
        case RegistryModel(id=name) | S3Model(uri=name) | S3Data(uri=name):
            return name
        case GgufModel(path=name) if name.startswith("s3://"):
            return name
        case _:
            return None


def _problem(error: PruneryError) -> dict[str, object]:
    return {
        "status": error.status,
        "title": error.title,
        "code": error.code,
        "detail": error.detail,
        "hint": error.hint,
        "errors": [field.model_dump() for field in error.errors],
    }


def _without_service() -> Settings:
    """Everything on this machine may be read; database, broker and storage are never reached."""
    nobody = SecretStr("nobody")
    return Settings(
        environment="development",
        database_url=SecretStr("postgresql+psycopg://127.0.0.1:1/none"),
        broker_url=SecretStr("redis://127.0.0.1:1/0"),
        api_key=nobody,
        s3_endpoint="http://127.0.0.1:1",
        s3_access_key=nobody,
        s3_secret_key=nobody,
        local_roots=(Path("/"),),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
