"""Proof that what was written is what was trained: the folder is reloaded in a clean process and must answer alike."""

import json
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from jobs import errors
from worker.engine import blockwise, clean_process, devices
from worker.engine.windows import Windows

TOLERANCE = 1e-4
"""Largest difference of a logit that rounding explains: between two models of the same weights as it stands, between
the model in training and the merged one as a part of the largest logit (a merged weight has 24 bits)."""

TIE = 0.05
"""A lead of the likeliest token, as a part of the spread of the logits, that rounding in 16 bits may take away."""

PROBE_WINDOWS, PROBE_TOKENS = 2, 64


@dataclass(frozen=True)
class Proof:
    """What the clean process found."""

    max_abs_difference: float
    transformers: str
    torch: str
    greedy_tokens: int
    greedy_tokens_equal: int


def probe(windows: Windows) -> Tensor:
    """(B, T) token ids to ask about. Real text: on random tokens activations grow, and rounding errors with them."""
    return windows.ids_NT[:PROBE_WINDOWS, :PROBE_TOKENS].long()


@torch.no_grad()
def answers(model: nn.Module, ids_BT: Tensor) -> Tensor:
    """(B, T, V) logits in the model's dtype, on the CPU."""
    device = next(model.parameters()).device
    logits: Tensor = model.eval()(input_ids=ids_BT.to(device), use_cache=False).logits
    return logits.cpu()


def exact_answers(model: nn.Module, ids_BT: Tensor) -> Tensor:
    """(B, T, V) logits computed in float64, on the CPU; the model stays as it is.

    In float32 the order of sums alone moves the logits of a 30-layer model by 3e-3 between masked and sliced. Only one
    block at a time, and what lies outside the blocks, is held in float64, on the accelerator if there is one: the
    model itself may lie on the CPU, in 16 bits or fewer.
    """
    with blockwise.lent(model, devices.own(), torch.float64):
        return answers(model, ids_BT)


def check_cut(trained_BTV: Tensor, cut_BTV: Tensor) -> float:
    """The largest absolute difference between the masked model in training and the merged, sliced one.

    Raises:
        VerificationFailed: it is more than rounding the merged weights explains, or not a number.
    """
    difference = float((trained_BTV - cut_BTV).abs().max())
    bound = TOLERANCE * max(1.0, float(trained_BTV.abs().max()))
    if not difference <= bound:
        raise errors.VerificationFailed(
            f"Merged and cut, a logit differs by {difference:.3g}, more than {bound:.3g}; nothing is published."
        )
    return difference


def certify(folder: Path, ids_BT: Tensor, expected_BTV: Tensor, work: Path) -> Proof:
    """Reload `folder` in a clean process, with stock classes and no remote code, and compare its logits.

    Args:
        expected_BTV: `exact_answers` of the model that was written.

    Raises:
        VerificationFailed: it does not load, lacks or invents a weight, answers differently, cannot generate, or writes
            something else with a KV cache than without.
    """
    request, answer = work / "probe.safetensors", work / "reload.json"
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # what this process holds in reserve, the clean one could not have
    save_file({"ids": ids_BT.contiguous(), "logits": expected_BTV.contiguous()}, request)
    failure = clean_process.run("worker.engine.clean_reload", folder, request, answer)
    request.unlink()
    if failure is not None:
        raise errors.VerificationFailed(f"The exported model does not reload: {failure}")
    found = json.loads(answer.read_text())
    if found["problems"]:
        raise errors.VerificationFailed(f"The exported model does not fit its configuration: {found['problems']}")
    if not found["max_abs_difference"] <= TOLERANCE:
        raise errors.VerificationFailed(
            f"Reloaded, a logit differs by {found['max_abs_difference']:.3g}, more than {TOLERANCE:g}."
        )
    if not found["parting_lead"] <= TIE:
        raise errors.VerificationFailed(
            f"After {found['greedy_tokens_equal']} tokens the model writes something else with a KV cache than without."
        )
    return Proof(**{field.name: found[field.name] for field in fields(Proof)})
