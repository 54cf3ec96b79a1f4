"""Where a model or a text comes from."""

from typing import Annotated, Any, Literal, assert_never

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema


def _take_only_their_own(node: Any) -> None:
    """Numbers and booleans are not made of each other, nor of texts. Lists and dates stay as JSON has them."""
    if isinstance(node, dict):
        if node.get("type") in ("int", "float", "bool"):
            node["strict"] = True
        for part in node.values():
            _take_only_their_own(part)
    elif isinstance(node, list):
        for part in node:
            _take_only_their_own(part)


class Spec(BaseModel):
    """Frozen, and strict about its keys: a misspelt option must not be ignored, nor `false` be taken for 0."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[BaseModel], handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        _take_only_their_own(schema)
        return schema


Text = Annotated[str, Field(min_length=1, max_length=1024)]
S3Uri = Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]+/.+", max_length=2048)]
HubId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$", max_length=200)]


class HubModel(Spec):
    """A model repository on the hub."""

    source: Literal["hub"]
    id: HubId
    revision: Text | None = Field(
        None, description="Branch, tag or commit; the default branch if not given. A stored job has the commit."
    )


class LocalModel(Spec):
    """A folder with config.json, safetensors weights and a tokenizer, on the worker's machine."""

    source: Literal["local"]
    path: Text


class GgufModel(Spec):
    """One GGUF file, on the worker's machine or in object storage (`s3://…`); its weights are de-quantised."""

    source: Literal["gguf"]
    path: Text


class S3Model(Spec):
    """A folder like a local one, under a prefix of object storage."""

    source: Literal["s3"]
    uri: S3Uri


class RegistryModel(Spec):
    """A model of this service: uploaded, or published by a job."""

    source: Literal["registry"]
    id: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$", max_length=200, description="`namespace/name`")]
    revision: Text | None = Field(None, description="Branch, tag, alias or commit; `main` if not given.")


ModelSource = Annotated[HubModel | LocalModel | GgufModel | S3Model | RegistryModel, Field(discriminator="source")]


def place(source: ModelSource) -> str:
    """Where a model is, in one word: its hub id, path or URI."""
    match source:
        case (
            HubModel(id=place)
            | RegistryModel(id=place)
            | LocalModel(path=place)
            | GgufModel(path=place)
            | S3Model(uri=place)
        ):
            return place
        case _:
            assert_never(source)


class DataSpec(Spec):
    """What all data sources share.

    Rows are plain text, or JSON objects with `text`, with `prompt` and `completion`, or with chat `messages`.
    """

    max_samples: int | None = Field(None, ge=1, description="Read at most this many rows; of a plain text, lines.")


class FileData(DataSpec):
    """A file uploaded with `POST /v1/files`."""

    source: Literal["file"]
    id: Text


class LocalData(DataSpec):
    """A text or JSONL file on the worker's machine."""

    source: Literal["local"]
    path: Text


class HubData(DataSpec):
    """A data set on the hub."""

    source: Literal["hub"]
    id: HubId
    name: Text | None = Field(None, description="Configuration of the data set.")
    split: Text = "train"
    revision: Text | None = None


class S3Data(DataSpec):
    """A text or JSONL file in object storage."""

    source: Literal["s3"]
    uri: S3Uri


DataSource = Annotated[FileData | LocalData | HubData | S3Data, Field(discriminator="source")]
