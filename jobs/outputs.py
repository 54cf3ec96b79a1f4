"""What a job publishes, and under which name."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator

from jobs import repository_names
from jobs.formats import FORMATS, Format
from jobs.sources import Spec


def _repository_name(name: str) -> str:
    if not repository_names.is_valid(name):
        raise ValueError(
            f"{name!r} is no name of a repository: letters, digits, '-', '_' and '.', no two of '-' or '.' in a row, "
            f"none of them at an end, at most {repository_names.LONGEST}"
        )
    return name


RepositoryName = Annotated[
    str,
    AfterValidator(_repository_name),
    WithJsonSchema({"type": "string", "pattern": rf"^(?!.*\.git$){repository_names.PATTERN.pattern}$"}),
]


class OutputSpec(Spec):
    """What is published."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="auto: as the base model.")
    max_shard_bytes: int = Field(5_000_000_000, ge=1_000_000)
    formats: tuple[Format, ...] = Field(
        ("safetensors",),
        max_length=len(FORMATS),
        json_schema_extra={"uniqueItems": True},
        description="What the result is written as; safetensors always. gguf_…: for llama.cpp, `f16` or quantised. "
        "w…a…: for vLLM. onnx: for onnxruntime, if the worker has the extra `onnx`.",
    )
    repository: RepositoryName | None = Field(
        None, description="The model of the project that the result is a revision of; after the job's name if null."
    )
    visibility: Literal["private", "public"] = Field(
        "private", description="Who may read the model, if the job is the first to publish to it. public: every key."
    )

    @field_validator("formats")
    @classmethod
    def _safetensors_always(cls, asked: tuple[Format, ...]) -> tuple[Format, ...]:
        if len(set(asked)) < len(asked):
            raise ValueError("each format once")
        return asked if "safetensors" in asked else (*asked, "safetensors")
