"""Making up for what is cut: the kept input channels of o_proj and down_proj take over what the removed ones carried.

Legend: O output channels, S kept input channels, N tokens, M of them.
"""

import torch
from torch import Tensor

from jobs import errors

RIDGE = 1e-2
"""Damping as a part of the mean diagonal of the inputs' Gram matrix, silent channels left aside."""

HELD_OUT = 8
"""One in so many tokens judges the solution instead of shaping it, from window to window in other places: the first
one is like no other. It is often the attention sink, a hundred times as long as the rest: a fit must have seen it."""


class SecondMoments:
    """Second moments of a layer's inputs and of its errors against them, uncentred: what least squares needs to know.

    Tokens are added as they come, window after window; one in `HELD_OUT` judges the solution, the others shape it,
    whatever the pieces. Products are taken in float32 (PyTorch's default keeps TF32 out of them), sums over pieces in
    float64.
    """

    def __init__(self, inputs: int, outputs: int, device: torch.device, *, window: int) -> None:
        """`window`: how many tokens one has."""
        self._window = window
        self.shaping_SS = torch.zeros(inputs, inputs, dtype=torch.float64, device=device)
        self.judging_SS = torch.zeros_like(self.shaping_SS)
        self.shaping_OS = torch.zeros(outputs, inputs, dtype=torch.float64, device=device)
        self.judging_OS = torch.zeros_like(self.shaping_OS)
        self._tokens = 0

    def add(self, inputs_NS: Tensor, errors_NO: Tensor) -> None:
        """Take in some more tokens; an error is what the layer should have answered less what it did answer."""
        number_N = torch.arange(self._tokens, self._tokens + len(inputs_NS), device=inputs_NS.device)
        judging_N = (number_N // self._window + number_N % self._window) % HELD_OUT == 0
        self._tokens += len(inputs_NS)
        for gram_SS, cross_OS, chosen_N in (
            (self.shaping_SS, self.shaping_OS, ~judging_N),
            (self.judging_SS, self.judging_OS, judging_N),
        ):
            chosen_MS, chosen_MO = inputs_NS[chosen_N].float(), errors_NO[chosen_N].float()
            gram_SS += chosen_MS.T @ chosen_MS
            cross_OS += chosen_MO.T @ chosen_MS


def correction(moments: SecondMoments) -> Tensor:
    """What to add to a layer's weight so that its errors become least.

    Minimises ‖e − Δ x‖² + λ‖Δ‖² over the shaping tokens: Δ = E Xᵀ (X Xᵀ + λI)⁻¹, shrinking to the weight as it is;
    zero where it would not lower the squared error on the judging tokens.

    Returns:
        (O, S) float64.
    Raises:
        ScoreNotFinite: an activation was NaN or infinite.
    Source: least squares from kept to removed channels as in arXiv:2407.13331, here with a ridge.
    """
    if not bool(moments.shaping_SS.isfinite().all() & moments.shaping_OS.isfinite().all()):
        raise errors.ScoreNotFinite(
            "An activation is NaN or infinite, so nothing can be reconstructed.", hint="Lower the learning rate."
        )
    damped_SS = moments.shaping_SS.clone()
    diagonal_S = damped_SS.diagonal()
    diagonal_S += RIDGE * diagonal_S.sum() / diagonal_S.count_nonzero()
    factor_SS, failed = torch.linalg.cholesky_ex(damped_SS)
    if bool(failed):  # the kept channels are silent, so they can make up for nothing
        return torch.zeros_like(moments.shaping_OS)
    change_OS = torch.cholesky_solve(moments.shaping_OS.T, factor_SS).T
    # ‖e − Δ x‖² − ‖e‖² over the judging tokens.
    growth = ((change_OS @ moments.judging_SS - 2 * moments.judging_OS) * change_OS).sum()
    return change_OS if bool(growth < 0) else torch.zeros_like(change_OS)
