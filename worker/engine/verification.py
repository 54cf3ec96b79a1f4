"""Proof that what was written is what was trained: the folder is reloaded in a clean process and must answer alike."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from jobs import errors
from worker.engine.windows import Windows

TOLERANCE = 1e-4
"""Largest difference of a logit that rounding explains."""

PROBE_WINDOWS, PROBE_TOKENS = 2, 64


@dataclass(frozen=True)
class Certificate:
    """What the clean process found."""

    max_abs_difference: float
    transformers: str
    torch: str
    greedy_tokens: int


def probe(windows: Windows) -> Tensor:
    """(B, T) token ids to ask about. Real text: on random tokens activations grow, and rounding errors with them."""
    return windows.ids_NT[:PROBE_WINDOWS, :PROBE_TOKENS].long()


@torch.inference_mode()
def answers(model: nn.Module, ids_BT: Tensor) -> Tensor:
    """(B, T, V) logits in the model's dtype, on the CPU."""
    device = next(model.parameters()).device
    logits: Tensor = model.eval()(input_ids=ids_BT.to(device), use_cache=False).logits
    return logits.cpu()


def exact_answers(model: nn.Module, ids_BT: Tensor) -> Tensor:
    """(B, T, V) logits of a float32 model, computed in float64; the model is float32 again afterwards.

    In float32 the sums alone differ by 1e-3 between a masked and a sliced model of 30 layers; only float64 shows
    whether the weights are the same.
    """
    nn.Module.to(model, torch.float64)
    try:
        return answers(model, ids_BT)
    finally:
        nn.Module.to(model, torch.float32)


def compare(what: str, expected_BTV: Tensor, found_BTV: Tensor) -> float:
    """The largest absolute difference.

    Raises:
        VerificationFailed: it is more than rounding, or not a number.
    """
    difference = float((expected_BTV - found_BTV).abs().max())
    if not difference <= TOLERANCE:
        raise errors.VerificationFailed(
            f"{what}: a logit differs by {difference:.3g}, more than {TOLERANCE:g}; nothing is published."
        )
    return difference


def certify(folder: Path, ids_BT: Tensor, expected_BTV: Tensor, work: Path) -> Certificate:
    """Reload `folder` in a clean process, with stock classes and no remote code, and compare its logits.

    Raises:
        VerificationFailed: it does not load, lacks or invents a weight, answers differently, or cannot generate.
    """
    request, answer = work / "probe.safetensors", work / "certificate.json"
    save_file({"ids": ids_BT.contiguous(), "logits": expected_BTV.contiguous()}, request)
    run = subprocess.run(
        [sys.executable, "-m", "worker.engine.clean_reload", str(folder), str(request), str(answer)],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    request.unlink()
    if run.returncode != 0:
        reason = run.stderr.strip().splitlines()[-1:] or [f"exit code {run.returncode}"]
        raise errors.VerificationFailed(f"The exported model does not reload: {reason[0]}")
    found = json.loads(answer.read_text())
    if found["problems"]:
        raise errors.VerificationFailed(f"The exported model does not fit its configuration: {found['problems']}")
    if not found["max_abs_difference"] <= TOLERANCE:
        raise errors.VerificationFailed(
            f"Reloaded, a logit differs by {found['max_abs_difference']:.3g}, more than {TOLERANCE:g}."
        )
    return Certificate(found["max_abs_difference"], found["transformers"], found["torch"], found["greedy_tokens"])
