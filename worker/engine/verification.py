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
from worker import process
from worker.engine.windows import Windows

TOLERANCE = 1e-4
"""Largest difference of a logit that rounding explains: between two runs of the same weights as it stands, between the
model in training and the merged one as a part of the largest logit (a file holds each merged weight to 24 bits)."""

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

    In float32 the order of sums alone moves the logits of a 30-layer model by 3e-3 between masked and sliced.
    """
    nn.Module.to(model, torch.float64)
    try:
        return answers(model, ids_BT)
    finally:
        nn.Module.to(model, torch.float32)


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


def certify(folder: Path, ids_BT: Tensor, expected_BTV: Tensor, work: Path) -> Certificate:
    """Reload `folder` in a clean process, with stock classes and no remote code, and compare its logits.

    Raises:
        VerificationFailed: it does not load, lacks or invents a weight, answers differently, or cannot generate.
    """
    request, answer = work / "probe.safetensors", work / "certificate.json"
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # what this process holds in reserve, the clean one could not have
    save_file({"ids": ids_BT.contiguous(), "logits": expected_BTV.contiguous()}, request)
    run = subprocess.run(
        [sys.executable, "-P", "-m", "worker.engine.clean_reload", str(folder), str(request), str(answer)],
        env=os.environ | {"HF_HUB_OFFLINE": "1", process.SUPERVISOR: str(os.getpid())},
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
