"""Where the units of each model family live. The only code that knows module names.

Axis legend: a linear layer's weight is (out, in); axis 0 is its output, axis 1 its input.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from torch import nn

from jobs import errors
from jobs.shapes import ModelShape


class Kind(StrEnum):
    """What is removed as a whole."""

    KV_GROUP = "kv_groups"  # one KV head with all its query heads
    FFN_CHANNEL = "ffn_channels"


Run = Literal["query heads", "head", "channel"]
"""The channels that one unit owns side by side."""


@dataclass(frozen=True)
class Member:
    """A linear layer that takes part in units of one kind, along one axis.

    `parts` lie one after the other on the axis, each holding a run of every unit: one part in a plain projection, three
    where q, k and v are fused into one matrix.
    """

    path: str
    kind: Kind
    axis: Literal[0, 1]
    parts: tuple[Run, ...]

    def runs(self, shape: ModelShape) -> tuple[int, ...]:
        """Channels per unit in each part."""
        sizes: dict[Run, int] = {"query heads": shape.group * shape.head_dim, "head": shape.head_dim, "channel": 1}
        return tuple(sizes[part] for part in self.parts)

    def channels(self, shape: ModelShape) -> int:
        """Channels per unit on `axis`, all parts together."""
        return sum(self.runs(shape))

    def places(self, shape: ModelShape, count: int, units: Sequence[int]) -> list[int]:
        """Where the channels of some units lie in a layer that has `count` units, the first being unit 0."""
        found: list[int] = []
        offset = 0
        for run in self.runs(shape):
            found += [offset + unit * run + channel for unit in units for channel in range(run)]
            offset += count * run
        return found


@dataclass(frozen=True)
class Family:
    """How a family names its blocks and the linear layers inside them."""

    blocks: str
    members: tuple[Member, ...]
    others: tuple[str, ...] = ()  # linear layers that carry adapters but no units
    transposed: bool = False  # weights are stored (in, out)
    counts_heads: bool = False  # its attention splits a fused projection by the head counts that it was told
    adds_gates: bool = True  # what a gate answers is added to the residual stream as it is, not scaled or normalised

    @property
    def linear(self) -> tuple[str, ...]:
        """The paths of all linear layers of a block."""
        return (*self.others, *(member.path for member in self.members))

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of units that can be removed."""
        return tuple(kind for kind in Kind if self.of(kind))

    def of(self, kind: Kind) -> tuple[Member, ...]:
        """The members of one kind."""
        return tuple(member for member in self.members if member.kind is kind)

    def gate(self, kind: Kind) -> Member:
        """The layer whose input carries a kind's units one by one: masking there equals removing them."""
        return next(member for member in self.of(kind) if member.axis == 1)

    def layers(self, model: nn.Module) -> Iterator[nn.Module]:
        """The blocks of a bare `...ForCausalLM`, in order."""
        blocks = model.get_submodule(self.blocks)
        if not isinstance(blocks, nn.ModuleList):
            raise errors.UnsupportedArchitecture(f"{type(model).__name__} has no list of blocks at {self.blocks}.")
        yield from blocks


def _ffn(*up: str, down: str) -> tuple[Member, ...]:
    rows = (Member(path, Kind.FFN_CHANNEL, 0, ("channel",)) for path in up)
    return (*rows, Member(down, Kind.FFN_CHANNEL, 1, ("channel",)))


_QKV = (
    Member("self_attn.q_proj", Kind.KV_GROUP, 0, ("query heads",)),
    Member("self_attn.k_proj", Kind.KV_GROUP, 0, ("head",)),
    Member("self_attn.v_proj", Kind.KV_GROUP, 0, ("head",)),
)
_FUSED_QKV = Member("self_attn.qkv_proj", Kind.KV_GROUP, 0, ("query heads", "head", "head"))
_O = Member("self_attn.o_proj", Kind.KV_GROUP, 1, ("query heads",))
_FUSED_FFN = (
    Member("mlp.gate_up_proj", Kind.FFN_CHANNEL, 0, ("channel", "channel")),
    Member("mlp.down_proj", Kind.FFN_CHANNEL, 1, ("channel",)),
)

LLAMA = Family("model.layers", (*_QKV, _O, *_ffn("mlp.gate_proj", "mlp.up_proj", down="mlp.down_proj")))
GRANITE = replace(LLAMA, adds_gates=False)  # but scaled
GEMMA = replace(LLAMA, adds_gates=False)
GLM = Family("model.layers", (*_QKV, _O, *_FUSED_FFN))
GLM4 = replace(GLM, adds_gates=False)
PHI3 = Family("model.layers", (_FUSED_QKV, _O, *_FUSED_FFN), counts_heads=True)
# The classes of these three know neither fewer heads than hidden size / head_dim nor heads of another size.
OPT = Family(
    "model.decoder.layers",
    _ffn("fc1", down="fc2"),
    others=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"),
)
GPT_NEOX = Family(
    "gpt_neox.layers",
    _ffn("mlp.dense_h_to_4h", down="mlp.dense_4h_to_h"),
    others=("attention.query_key_value", "attention.dense"),
)
GPT2 = Family(
    "transformer.h",
    _ffn("mlp.c_fc", down="mlp.c_proj"),
    others=("attn.c_attn", "attn.c_proj"),
    transposed=True,
)

FAMILIES = {
    "llama": LLAMA,
    "granite": GRANITE,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
    "glm": GLM,
    "glm4": GLM4,
    "phi3": PHI3,
    "gemma2": GEMMA,
    "gemma3_text": GEMMA,
    "opt": OPT,
    "gpt_neox": GPT_NEOX,
    "gpt2": GPT2,
}


def family(shape: ModelShape) -> Family:
    """The table row of a model."""
    return FAMILIES[shape.family]


def units(shape: ModelShape, kind: Kind) -> int:
    """Units of a kind in each layer of the untouched model."""
    match kind:
        case Kind.KV_GROUP:
            return shape.kv_heads
        case Kind.FFN_CHANNEL:
            return shape.ffn
