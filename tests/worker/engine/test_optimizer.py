"""The optimizer's groups, and what a larger rate for the B factors does."""

from pathlib import Path

import pytest
import torch

from jobs.specs import LoraSpec, TrainSpec
from tests.models import random_model
from tests.worker.engine.runs import prune, spec_of
from worker.engine import adapters, optimizer
from worker.engine.architectures import family


def test_everything_that_learns_is_in_one_group() -> None:
    model, shape = random_model()
    adapted = adapters.attach(model, family(shape), LoraSpec(norms=True), seed=0)
    found = optimizer.adamw(adapted, TrainSpec(learning_rate=1e-3, b_factor_rate=8, weight_decay=0.1))
    names = {parameter: name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    a_factors, b_factors, norms = ({names[parameter] for parameter in group["params"]} for group in found.param_groups)
    assert a_factors == {name for name in names.values() if ".lora_A." in name}
    assert b_factors == {name for name in names.values() if ".lora_B." in name}
    assert norms == set(names.values()) - a_factors - b_factors
    assert all("norm" in name for name in norms)
    assert len(norms) == 2 * shape.layers + 1
    assert [group["lr"] for group in found.param_groups] == [1e-3, pytest.approx(8e-3), 1e-3]
    assert [group["weight_decay"] for group in found.param_groups] == [0.1, 0.1, 0.0]


def test_the_first_step_moves_the_b_factors_so_many_times_as_far(small_model: Path, tmp_path: Path) -> None:
    """A does not move in the first step, since B is zero; so what is learned is in proportion to B's rate."""

    def learned(rate: float) -> torch.Tensor:
        spec = spec_of(
            lora={"dropout": 0.0, "start": "random"},  # else this step, which cuts, would align them instead
            train={"steps": 1, "b_factor_rate": rate, "learning_rate": 1e-4},
            score={"calibration_windows": 4},
            reconstruction={"enabled": False},
        )
        state = prune(small_model, spec, tmp_path).state
        return state["model.layers.0.mlp.down_proj.weight"]

    plain, once, thrice = (learned(rate) for rate in (1, 2, 4))
    torch.testing.assert_close((thrice - plain), 3 * (once - plain), rtol=1e-3, atol=1e-6)
    assert bool((once - plain).any())
