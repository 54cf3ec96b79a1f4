"""What was found of each format that a result was written in."""

from dataclasses import dataclass, field

from jobs.formats import Format
from worker.engine.certificate import GgufProof, OnnxProof, QuantisedProof


@dataclass
class Proofs:
    """By format; a format that is missing was not asked for."""

    gguf: list[GgufProof] = field(default_factory=list)
    quantised: dict[Format, QuantisedProof] = field(default_factory=dict)
    onnx: OnnxProof | None = None
