"""Proof that what was written is what was trained: the folder is reloaded in a clean process and must answer alike."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from jobs import errors

TOLERANCE = 1e-4
"""Largest difference of a logit, in float32, that rounding alone explains."""

PROBE_TOKENS = 64


@dataclass(frozen=True)
class Certificate:
    """What the clean process found."""

    max_abs_difference: float
    transformers: str
    torch: str
    greedy_tokens: int


def probe(vocab: int, length: int) -> Tensor:
    """(2, T) token ids that any model of this vocabulary can be asked about."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(vocab, (2, min(PROBE_TOKENS, length)), generator=generator)


@torch.inference_mode()
def answers(model: torch.nn.Module, ids_BT: Tensor) -> Tensor:
    """(B, T, V) float32 logits, on the CPU."""
    device = next(model.parameters()).device
    logits: Tensor = model(input_ids=ids_BT.to(device), use_cache=False).logits
    return logits.float().cpu()


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
