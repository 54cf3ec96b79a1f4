"""The proof itself: float64 without a float64 model, and a clean process that does not outlive the engine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from jobs.specs import LoraSpec
from tests.models import random_model
from worker.engine import adapters, verification
from worker.engine.architectures import family


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_exact_answers_are_those_of_a_float64_copy(dtype: torch.dtype) -> None:
    model, shape = random_model(num_hidden_layers=3)
    fam = family(shape)
    adapters.attach(model.to(dtype), fam, LoraSpec(dropout=0.0), seed=0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    widest: list[int] = []

    def count(block: nn.Module, arguments: object) -> None:
        inside = [any(part.dtype == torch.float64 for part in other.parameters()) for other in fam.layers(model)]
        widest.append(sum(inside))

    hooks = [block.self_attn.register_forward_pre_hook(count) for block in fam.layers(model)]  # type: ignore[union-attr,operator]
    ids_BT = torch.randint(shape.vocab, (2, 16))
    found_BTV = verification.exact_answers(model, ids_BT)
    for hook in hooks:
        hook.remove()
    assert widest == [1, 1, 1], "only the block that runs is held in float64"
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name])
    copy_BTV = verification.answers(model.double(), ids_BT)
    assert found_BTV.dtype == torch.float64
    torch.testing.assert_close(found_BTV, copy_BTV, rtol=1e-9, atol=1e-9)


def test_the_clean_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    """Its standard input is at its end, as it is once the other process is gone; the probe would never come."""
    names = [str(tmp_path / name) for name in ("model", "probe", "answer")]
    random_model()[0].save_pretrained(names[0])
    os.mkfifo(names[1])
    run = subprocess.run(
        [sys.executable, "-P", "-m", "worker.engine.clean_reload", *names], stdin=subprocess.DEVNULL, check=False
    )
    assert run.returncode == os.EX_SOFTWARE
