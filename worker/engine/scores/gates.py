"""The layers whose inputs carry the units one by one."""

from torch import nn

from worker.engine.architectures import Family, Kind


def of(model: nn.Module, family: Family) -> dict[Kind, list[nn.Module]]:
    """The gates of a bare `...ForCausalLM` by kind, one per block that it has now."""
    blocks = list(family.layers(model))
    return {kind: [block.get_submodule(family.gate(kind).path) for block in blocks] for kind in family.kinds}
