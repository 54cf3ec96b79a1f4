"""The form of certificate.json: what loaded the files of a result, and how near their answers were.

`python -m worker.engine.certificate > docs/certificate.schema.json` renews the published schema.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import ConfigDict, Field

from jobs.formats import Format
from worker.engine.report import Part
from worker.engine.verification import Proof

NAME = "certificate.json"


class SafetensorsProof(Part):
    """A clean process loaded the folder with stock transformers and without remote code."""

    transformers: str = Field(description="Its version.")
    torch: str = Field(description="Its version.")
    max_abs_logit_difference: float = Field(
        description="Largest difference of a logit between the model that was written and the one read, in float64."
    )
    greedy_tokens: int = Field(description="Tokens generated greedily, in the dtype of the files.")
    greedy_tokens_equal: int = Field(
        description="Of these, the tokens before the first at which generating with a KV cache and without part; they "
        "may do so only where rounding decides between two tokens."
    )


class GgufProof(Part):
    """llama.cpp ran the file. Differences are parts of the standard deviation of the logits."""

    MEASURED: ClassVar = (
        *("architecture", "llama_cpp", "tokens", "all_tokens", "last_token", "greedy_tokens", "greedy_tokens_equal"),
        *("quantisation", "same_likeliest", "text", "as_safetensors"),
    )

    format: Format
    file: str
    architecture: str = Field(
        description="llama.cpp's name for it. In `deci` and `openelm` each layer has its own widths, without padding."
    )
    llama_cpp: str = Field(description="Version of the wheel `xllamacpp` that holds llama.cpp.")
    tokens: int = Field(description="Tokens of the text that was read; llama.cpp's own tokenizer found the same.")
    all_tokens: float = Field(
        description="Root mean square of the difference to transformers with the very weights of the file, over all "
        "tokens, where llama.cpp computes the outputs of all of them."
    )
    last_token: float = Field(
        description="The same at the last token, where it computes no other output; largest of the likeliest logits."
    )
    greedy_tokens: int = Field(description="Tokens that llama.cpp went on to write.")
    greedy_tokens_equal: int = Field(
        description="Of these, the tokens before the first that transformers with the weights of the file does not "
        "write; they may part only where rounding decides."
    )
    quantisation: float = Field(
        description="What the file's rounding costs: root mean square of the difference between transformers with the "
        "weights of the file and with the safetensors."
    )
    same_likeliest: float = Field(description="Part of the tokens at which both find the same next token likeliest.")
    text: str = Field(description="What llama.cpp went on to write.")
    as_safetensors: bool = Field(description="Whether the safetensors go on with the very same text.")


class QuantisedProof(Part):
    """A clean process loaded the repository with stock transformers, which gave the weights their values back."""

    format: Format
    transformers: str = Field(description="Its version.")
    compressed_tensors: str = Field(description="Version of the package that read the weights.")
    quantisation: float = Field(
        description="What rounding costs: root mean square of the difference of logits to the stock safetensors, as a "
        "part of their standard deviation."
    )
    same_likeliest: float = Field(description="Part of the tokens at which both find the same next token likeliest.")
    greedy_tokens: int = Field(description="Tokens generated greedily, in float32.")
    greedy_tokens_equal: int = Field(description="Of these, the tokens before the first that differs without a cache.")


class OnnxProof(Part):
    """onnxruntime ran the graph: on short and long texts, alone and in padded batches, with a KV cache and without."""

    file: str
    onnxruntime: str = Field(description="Version of the package that ran it.")
    opset: int = Field(description="Version of ONNX's operators that the graph is written in.")
    batches: int = Field(description="Batches that it was run on.")
    tokens: int = Field(description="Of the longest text.")
    max_abs_logit_difference: float = Field(
        description="Largest difference of a logit to transformers in float64 with the safetensors, text by text."
    )
    part_of_spread: float = Field(description="The same as a part of the standard deviation of the logits.")


class File(Part):
    """One file as it was when it was proven."""

    path: str
    bytes: int
    sha256: str


class Certificate(Part):
    """That the files beside it load, and where. A job succeeds with one only."""

    model_config = ConfigDict(title=NAME)

    version: Literal[1] = Field(1, description="Of this form; it grows when a field changes its meaning.")
    safetensors: SafetensorsProof | None = Field(description="Null in the repository of a quantised variant.")
    gguf: list[GgufProof]
    quantised: QuantisedProof | None = Field(description="In the repository of a quantised variant.")
    onnx: OnnxProof | None = Field(description="Null if that format was not asked for, and in a quantised variant.")
    files: list[File] = Field(description="Every other file of the folder.")


def of_reload(proof: Proof) -> SafetensorsProof:
    """What the clean process found, in the words of the certificate."""
    found = asdict(proof)
    return SafetensorsProof(max_abs_logit_difference=found.pop("max_abs_difference"), **found)


def write(
    folder: Path,
    safetensors: SafetensorsProof | None = None,
    gguf: Sequence[GgufProof] = (),
    quantised: QuantisedProof | None = None,
    onnx: OnnxProof | None = None,
) -> None:
    """Add the certificate, over every file that is there."""
    files = [
        File(path=path.relative_to(folder).as_posix(), bytes=path.stat().st_size, sha256=_sha256(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    whole = Certificate(safetensors=safetensors, gguf=list(gguf), quantised=quantised, onnx=onnx, files=files)
    (folder / NAME).write_text(whole.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def schema() -> str:
    """The JSON Schema, as it is published."""
    return json.dumps(Certificate.model_json_schema(mode="serialization"), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(schema(), end="")  # noqa: T201
