"""Uploads that may take several requests, and the models that are made of them, as clients send and read them."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from jobs.sources import Spec
from jobs.upload_tables import UploadRow

UPLOADS = "/v1/uploads"
LARGEST_BYTES = 5 * 2**40  # of an object of S3

EXAMPLE = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def _inside(path: str) -> str:
    if not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise ValueError("must be a path inside the model: no empty part, no . and no ..")
    return path


Path = Annotated[
    str, StringConstraints(min_length=1, max_length=400, pattern=r"^[^\x00-\x1f\\]+$"), AfterValidator(_inside)
]


class NewUpload(Spec):
    """The content that is to come."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"bytes": 538090408, "sha256": EXAMPLE}]})

    bytes: int = Field(ge=1, le=LARGEST_BYTES)
    sha256: Sha256


class Upload(BaseModel):
    """A content that is sent in as many requests as it takes."""

    object: Literal["upload"] = "upload"
    id: str
    bytes: int
    sha256: str
    offset: int = Field(description="Send the bytes from here on.")
    part_bytes: int = Field(description="The offset moves by so much, and at last to the end.")
    completed_at: datetime | None = Field(description="All is there, and is what was announced.")
    created_at: datetime
    url: str

    @classmethod
    def of(cls, row: UploadRow, part_bytes: int) -> Self:
        names = ("id", "bytes", "sha256", "offset", "completed_at", "created_at")
        return cls(**{name: getattr(row, name) for name in names}, part_bytes=part_bytes, url=f"{UPLOADS}/{row.id}")


class UploadedFile(Spec):
    """A file of a new version."""

    path: Path = Field(description="In the version, such as model.safetensors.")
    sha256: Sha256 = Field(description="Of a complete upload of the project.")


class NewVersion(Spec):
    """A version of files that were uploaded."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"title": "As trained", "files": [{"path": "model.safetensors", "sha256": EXAMPLE}]}]
        }
    )

    files: Annotated[tuple[UploadedFile, ...], Field(min_length=1, max_length=1000)]
    title: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")] = "Uploaded"
    license: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00]*$")] | None = None
