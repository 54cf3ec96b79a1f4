"""Where the units of each model family live. The only code that knows module names.

Axis legend: a linear layer's weight is (out, in); axis 0 is its output, axis 1 its input.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from torch import nn

from jobs import errors
from jobs.shapes import ModelShape


class Kind(StrEnum):
    """What is removed as a whole."""

    KV_GROUP = "kv_groups"  # one KV head with all its query heads
    FFN_CHANNEL = "ffn_channels"


@dataclass(frozen=True)
class Member:
    """A linear layer that takes part in units of one kind, each unit owning a run of channels on one axis."""

    path: str
    kind: Kind
    axis: Literal[0, 1]
    run: Literal["query heads", "head", "channel"]

    def channels(self, shape: ModelShape) -> int:
        """Channels per unit on `axis`."""
        match self.run:
            case "query heads":
                return shape.group * shape.head_dim
            case "head":
                return shape.head_dim
            case "channel":
                return 1

    @property
    def name(self) -> str:
        """The module's own name, as LoRA targets it."""
        return self.path.rpartition(".")[2]


@dataclass(frozen=True)
class Family:
    """How a family names its blocks and the linear layers inside them."""

    blocks: str
    members: tuple[Member, ...]
    adds_gates: bool = True  # what a gate answers is added to the residual stream as it is, not normalised before

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


LLAMA = Family(
    blocks="model.layers",
    members=(
        Member("self_attn.q_proj", Kind.KV_GROUP, 0, "query heads"),
        Member("self_attn.k_proj", Kind.KV_GROUP, 0, "head"),
        Member("self_attn.v_proj", Kind.KV_GROUP, 0, "head"),
        Member("self_attn.o_proj", Kind.KV_GROUP, 1, "query heads"),
        Member("mlp.gate_proj", Kind.FFN_CHANNEL, 0, "channel"),
        Member("mlp.up_proj", Kind.FFN_CHANNEL, 0, "channel"),
        Member("mlp.down_proj", Kind.FFN_CHANNEL, 1, "channel"),
    ),
)

FAMILIES = {"llama": LLAMA, "mistral": LLAMA}


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
