"""Frozen weights in 8 or 4 bits, by bitsandbytes, stored so that units can be cut out of them without a rounding.

A matrix is stored unit by unit: as it is where its units are rows, transposed where they are columns. Each stored row
is quantised in blocks of its own, so what belongs to a unit is a row of codes and of scales, and cutting takes rows.
The weights are de-quantised wherever they are used; activations are not rounded. (The layers that bitsandbytes itself
has store one run of blocks from first row to last: columns cannot leave that without quantising anew, at each cut.)

Legend: O output channels, I input channels; S stored rows, C their channels, K blocks per row.
"""

from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from jobs import errors
from jobs.shapes import QUANTISED_BLOCK as BLOCK
from worker.engine.architectures import Family
from worker.engine.frozen import Axis, FrozenLinear

if TYPE_CHECKING:
    from bitsandbytes.functional import QuantState

Precision = Literal["int8", "nf4"]

STORED = (".codes", ".scales")
"""How the names end of what stands for a quantised weight in a state dict."""


def check_installed() -> None:
    """Raises BasePrecisionImpossible if bitsandbytes is missing."""
    if find_spec("bitsandbytes") is None:
        raise errors.BasePrecisionImpossible(
            "Weights in 8 or 4 bits need bitsandbytes, which is not installed.",
            hint="Install prunery[quantized], or ask for base_precision 'full'.",
        )


class QuantisedLinear(FrozenLinear):
    """A frozen linear layer that stores codes and scales."""

    def __init__(self, weight_OI: Tensor, bias: nn.Parameter | None, precision: Precision, axis: Axis) -> None:
        """`axis`: where the units lie that may be cut out."""
        super().__init__(weight_OI, bias)
        self.precision: Precision = precision
        self.axis = axis
        self.codes: Tensor
        self.scales: Tensor
        self.register_buffer("codes", None)
        self.register_buffer("scales", None)
        self._store(weight_OI)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]  # what a parameter is to others
        """(out, in) float32: a copy; to change the weight, `add` to it."""
        return self.full(torch.float32)

    def reader(self) -> Callable[[slice], Tensor]:
        return self.rows

    def units(self, axis: Axis) -> Iterator[tuple[Tensor, int]]:
        """Those of `axis` are stored one by one, as rows, wherever they lie in the weight."""
        yield self.codes, 0
        yield self.scales, 0
        if axis == 0 and self.bias is not None:
            yield self.bias, 0

    def add(self, change_OI: Tensor) -> None:
        """All of it is rounded anew."""
        self._store(self.weight + change_OI.float())

    def _store(self, weight_OI: Tensor) -> None:
        stored_SC = (weight_OI if self.axis == 0 else weight_OI.T).float().contiguous()
        self.codes, self.scales = _quantise(stored_SC, self.precision)

    def rows(self, part: slice) -> Tensor:
        """(rows, in) float32: some rows of the weight, without the others being de-quantised."""
        if self.axis == 0:
            return _dequantise(self.codes[part], self.scales[part], self.precision, torch.float32)
        start, stop, _ = part.indices(self.out_features)
        first, last = start // BLOCK, -(-stop // BLOCK)
        bytes_per_block = BLOCK * self.codes.shape[1] // self.out_features
        codes = self.codes[:, first * bytes_per_block : last * bytes_per_block].contiguous()
        blocks_Io = _dequantise(codes, self.scales[:, first:last].contiguous(), self.precision, torch.float32)
        return blocks_Io.T[start - first * BLOCK : stop - first * BLOCK]

    def full(self, dtype: torch.dtype) -> Tensor:
        """De-quantised."""
        stored_SC = _dequantise(self.codes, self.scales, self.precision, dtype)
        return stored_SC if self.axis == 0 else stored_SC.T


def quantise(model: nn.Module, family: Family, precision: Precision, device: torch.device) -> None:
    """Put the linear layers of all blocks in 8 or 4 bits, one by one, in place, and the whole model on `device`."""
    for block in family.layers(model):
        axes: dict[str, Axis] = dict.fromkeys(family.others, 0)
        axes |= {member.path: member.axis for member in family.members}
        for path, axis in axes.items():
            linear = block.get_submodule(path)
            assert isinstance(linear, nn.Linear)
            bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().to(device), requires_grad=False)
            weight_OI = linear.weight.detach().to(device)
            block.set_submodule(path, QuantisedLinear(weight_OI, bias, precision, axis))
    model.to(device=device)


def _quantise(stored_SC: Tensor, precision: Precision) -> tuple[Tensor, Tensor]:
    """Codes (S, bytes) uint8 and scales (S, K) float32."""
    from bitsandbytes import functional as bnb

    state: QuantState
    if precision == "nf4":
        codes, state = bnb.quantize_4bit(stored_SC, blocksize=BLOCK, quant_type="nf4")
    else:
        codes, state = bnb.quantize_blockwise(stored_SC, code=_even_steps(stored_SC.device), blocksize=BLOCK)
    return codes.view(len(stored_SC), -1), state.absmax.view(len(stored_SC), -1)


def _dequantise(codes: Tensor, scales: Tensor, precision: Precision, dtype: torch.dtype) -> Tensor:
    """(S, C) in `dtype`; the kernels know 32 and 16 bits only."""
    from bitsandbytes import functional as bnb

    known = dtype if dtype in (torch.bfloat16, torch.float16) else torch.float32
    absmax = scales.float().flatten()
    shape = torch.Size((len(codes), scales.shape[1] * BLOCK))
    if precision == "nf4":
        state = bnb.QuantState(absmax, shape, None, BLOCK, "nf4", known)
        return bnb.dequantize_4bit(codes.view(-1, 1), state).to(dtype)
    state = bnb.QuantState(absmax, shape, _even_steps(codes.device), BLOCK, dtype=known)
    return bnb.dequantize_blockwise(codes, state).view(shape).to(dtype)


@cache
def _even_steps(device: torch.device) -> Tensor:
    """The 255 values from -1 to 1 that an int8 stands for, and zero once more."""
    from bitsandbytes import functional as bnb

    return bnb.create_linear_map().to(device)
