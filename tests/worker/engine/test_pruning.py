"""When units are cut, how a batch passes and what is computed anew: the same model in the end."""

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaMLP

from tests.worker.engine.runs import prune, spec_of


@pytest.mark.parametrize("criterion", ["mask_gradient", "lora_gradient"])
@pytest.mark.parametrize("reconstruction", [True, False], ids=["reconstructed", "plain"])
def test_when_units_are_cut_for_real_changes_nothing_but_rounding(
    small_model: Path, tmp_path: Path, reconstruction: bool, criterion: str
) -> None:
    settings: Any = {"reconstruction": {"enabled": reconstruction}, "score": {"criterion": criterion}}
    at_every_event = prune(small_model, spec_of(**settings), tmp_path)
    assert len([event for event in at_every_event.events if event["type"] == "prune"]) >= 3

    for cut in ("last_event", "after_training"):
        later = prune(small_model, spec_of(schedule={"cut": cut}, **settings), tmp_path)

        assert later.plan == at_every_event.plan
        assert later.losses == pytest.approx(at_every_event.losses, rel=1e-4)
        assert later.state.keys() == at_every_event.state.keys()
        for name, tensor in later.state.items():
            assert (tensor - at_every_event.state[name]).abs().max() <= 1e-3 * tensor.abs().max(), name


def test_micro_batches_change_nothing_but_rounding(small_model: Path, tmp_path: Path) -> None:
    whole, parts = (prune(small_model, spec_of(train={"micro_batch_size": size}), tmp_path) for size in (4, 1))
    assert parts.plan == whole.plan
    assert parts.losses == pytest.approx(whole.losses, rel=1e-5)


def test_computing_activations_anew_changes_nothing(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, passes, forward = [], [], LlamaMLP.forward
    for anew in (False, True):
        calls: list[None] = []

        def counting(self: LlamaMLP, hidden: Tensor, calls: list[None] = calls) -> Tensor:
            calls.append(None)
            return forward(self, hidden)

        monkeypatch.setattr(LlamaMLP, "forward", counting)
        spec = spec_of(train={"gradient_checkpointing": anew}, reconstruction={"enabled": False})
        runs.append(prune(small_model, spec, tmp_path))
        passes.append(len(calls))
    kept, again = runs
    assert again.plan == kept.plan
    assert again.losses == pytest.approx(kept.losses, rel=1e-5)
    assert passes[1] > 1.5 * passes[0], "nothing was computed anew"
