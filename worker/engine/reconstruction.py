"""Making up for what is cut: the kept input channels of o_proj and down_proj take over what the removed ones carried.

Legend: O output channels, I input channels, S of them kept and P removed, N tokens, M of them.
"""

from typing import Self

import torch
from torch import Tensor

from jobs import errors

RIDGE = 1e-2
"""Damping as a part of the mean diagonal of the kept channels' Gram matrix."""

HELD_OUT = 8
"""One in so many tokens judges the solution instead of shaping it."""


class Gram:
    """Second moments of a layer's inputs, uncentred, in float64: of the tokens that shape, and of those that judge.

    Inputs are added as they come; one token in `HELD_OUT` judges, whatever the pieces. Products are taken in float32
    (PyTorch's default keeps TF32 out of them), sums over pieces in float64.
    """

    def __init__(self, channels: int, device: torch.device) -> None:
        self.shaping_II = torch.zeros(channels, channels, dtype=torch.float64, device=device)
        self.judging_II = torch.zeros_like(self.shaping_II)
        self._tokens = 0

    @classmethod
    def of(cls, inputs_NI: Tensor) -> Self:
        """From all the inputs at once."""
        gram = cls(inputs_NI.shape[1], inputs_NI.device)
        gram.add(inputs_NI)
        return gram

    def add(self, inputs_NI: Tensor) -> None:
        """Take in some more tokens."""
        number_N = torch.arange(self._tokens, self._tokens + len(inputs_NI), device=inputs_NI.device)
        judging_N = number_N % HELD_OUT == 0
        self._tokens += len(inputs_NI)
        for sums_II, chosen_N in ((self.shaping_II, ~judging_N), (self.judging_II, judging_N)):
            chosen_MI = inputs_NI[chosen_N].float()
            sums_II += chosen_MI.T @ chosen_MI


def correction(weight_OI: Tensor, gram: Gram, kept_S: Tensor) -> Tensor:
    """What to add to the kept columns so that the output changes least when the others go.

    Minimises ‖W x − W' x_S‖² + λ‖W' − W_S‖² over the tokens, so that W' = W_S + W_P G_PS (G_SS + λI)⁻¹; with λ → ∞
    this is plain slicing. The answer is zero where it would not lower the error on the judging tokens.

    Returns:
        (O, S) float64.
    Raises:
        ScoreNotFinite: an activation was NaN or infinite.
    Source: least squares from kept to removed channels as in arXiv:2407.13331, here with a ridge.
    """
    if not bool(gram.shaping_II.isfinite().all()):
        raise errors.ScoreNotFinite(
            "An activation is NaN or infinite, so nothing can be reconstructed.", hint="Lower the learning rate."
        )
    mask_I = torch.zeros(weight_OI.shape[1], dtype=torch.bool, device=weight_OI.device)
    mask_I[kept_S] = True
    removed_P = (~mask_I).nonzero().flatten()
    gram_SS = gram.shaping_II[kept_S][:, kept_S]
    gram_PS = gram.shaping_II[removed_P][:, kept_S]
    damping = RIDGE * gram_SS.diagonal().mean()
    damped_SS = gram_SS + damping * torch.eye(len(kept_S), dtype=gram_SS.dtype, device=gram_SS.device)
    weight_OP = weight_OI[:, removed_P].double()
    factor_SS, failed = torch.linalg.cholesky_ex(damped_SS)
    none_OS = torch.zeros(len(weight_OI), len(kept_S), dtype=torch.float64, device=weight_OI.device)
    if bool(failed):  # the kept channels are silent, so they can make up for nothing
        return none_OS
    change_OS = torch.cholesky_solve((weight_OP @ gram_PS).T, factor_SS).T
    errors_made = [
        _error(weight_OP, candidate, gram.judging_II, kept_S, removed_P) for candidate in (change_OS, none_OS)
    ]
    return change_OS if errors_made[0] < errors_made[1] else none_OS


def _error(weight_OP: Tensor, change_OS: Tensor, gram_II: Tensor, kept_S: Tensor, removed_P: Tensor) -> float:
    """Squared output error over the tokens behind a Gram matrix: ‖W_P x_P − ΔW x_S‖²."""
    order = torch.cat([removed_P, kept_S])
    off_OI = torch.cat([weight_OP, -change_OS], dim=1)
    return float(((off_OI @ gram_II[order][:, order]) * off_OI).sum())
