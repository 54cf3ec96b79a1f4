"""A stock folder as an ONNX graph with a KV cache, its inputs and outputs named as Optimum and Transformers.js do.

Weights are in 32 bits, whatever they were: the very values of the files, in what every runtime computes with.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel

from jobs import errors

if TYPE_CHECKING:
    from onnx_ir import Model

NEEDED = ("onnx", "onnx_ir", "onnxruntime", "onnxscript")

INLINE_BYTES = 1_900_000_000
"""Most bytes of weights that stay in the file of the graph, which can be 2 GiB long."""

BATCH, TOKENS, PAST = 2, 3, 4
"""What the graph is traced with. It takes any sizes, but for that these must differ, and none may be 1."""

Past = list[tuple[Tensor, Tensor]]
"""Keys and values by layer, each (batch, KV heads, tokens, channels of a head)."""


def check_installed() -> None:
    """Raises FormatImpossible if what writes and runs ONNX graphs is missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise errors.FormatImpossible(
            f"ONNX graphs need packages that are not installed: {', '.join(missing)}.",
            hint="Install prunery[onnx] where the worker runs, or leave onnx out of output.formats.",
        )


def write(folder: Path, path: Path, *, inline_bytes: int = INLINE_BYTES) -> None:
    """Write the model in `folder` to `path`; weights of more than `inline_bytes` to a file beside it, `…_data`.

    Raises:
        VerificationFailed: its computation cannot be traced.
    """
    import onnx_ir

    # Not read in 32 bits at once: what a class rounds to the dtype of the files, such as a scale, is to stay rounded.
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", trust_remote_code=False).eval().float()
    try:
        graph = _traced(model)
    except torch.onnx.OnnxExporterError as error:
        raise errors.VerificationFailed(
            f"torch cannot write this model as an ONNX graph: {str(error.__cause__).splitlines()[0]}",
            hint="Leave onnx out of output.formats.",
        ) from error
    weights = (value.const_value for value in graph.graph.initializers.values())
    is_large = sum(weight.nbytes for weight in weights if weight is not None) > inline_bytes
    path.parent.mkdir(exist_ok=True)
    onnx_ir.save(graph, path, external_data=f"{path.name}_data" if is_large else None)


class _Cached(nn.Module):
    """The model, its KV cache handed in and out as tensors."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, past: Past
    ) -> tuple[Tensor, Past]:
        """Logits of the tokens given, and keys and values of these and those past. The mask covers both."""
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(past):
            cache.update(keys, values, layer)
        answer = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=True,
        )
        return answer.logits, _held(cache)


def _traced(model: PreTrainedModel) -> "Model":
    with torch.no_grad():
        one = model(input_ids=torch.zeros(BATCH, PAST, dtype=torch.long), use_cache=True)
    past = _held(one.past_key_values)
    now = {0: "batch_size", 1: "sequence_length"}
    before = {0: "batch_size", 2: "past_sequence_length"}
    inputs = {
        "input_ids": (torch.zeros(BATCH, TOKENS, dtype=torch.long), now),
        "attention_mask": (
            torch.ones(BATCH, PAST + TOKENS, dtype=torch.long),
            {0: "batch_size", 1: "total_sequence_length"},
        ),
        "position_ids": (torch.arange(PAST, PAST + TOKENS).repeat(BATCH, 1), now),
    }
    places = [f"{layer}.{part}" for layer in range(len(past)) for part in ("key", "value")]
    program = torch.onnx.export(
        _Cached(model).eval(),
        (*(example for example, _ in inputs.values()), past),
        dynamic_shapes=(*(sizes for _, sizes in inputs.values()), [(before, before)] * len(past)),
        input_names=[*inputs, *(f"past_key_values.{place}" for place in places)],
        output_names=["logits", *(f"present.{place}" for place in places)],
        dynamo=True,
        verbose=False,
    )
    assert program is not None  # as it is without dynamo only
    return program.model


def _held(cache: Any) -> Past:
    return [(layer.keys, layer.values) for layer in cache.layers]
