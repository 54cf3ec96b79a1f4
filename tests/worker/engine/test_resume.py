"""A run that was stopped and went on ends bit for bit where one that never stopped does."""

from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.sources import LocalData
from tests.worker.engine.runs import Run, Stopped, prune, spec_of
from worker.engine import base_models, checkpoints, datasets, orders
from worker.engine.orders import Order, Orders

STEPS = 18  # two epochs and a bit of 8 batches; events at 4, 6, 8 and 9


def spec(**fields: Any) -> Any:
    """With dropout, so that the state of the random numbers matters too."""
    train = {"steps": STEPS, "micro_batch_size": 2} | fields.pop("train", {})
    return spec_of(train=train, lora={"dropout": 0.1, "norms": True}, **fields)


@pytest.fixture(scope="module")
def never_stopped(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("never-stopped")
    return {cut: prune(small_model, spec(schedule={"cut": cut}), folder) for cut in ("every_event", "after_training")}


@pytest.mark.parametrize(
    ("every", "stop_after", "cut"),
    [
        pytest.param(1, 1, "every_event", id="before the first event"),
        pytest.param(2, 7, "every_event", id="between events"),
        pytest.param(2, 7, "after_training", id="between events, nothing cut yet"),
        pytest.param(4, 8, "every_event", id="between epochs"),
        pytest.param(5, 16, "every_event", id="after the last event"),
    ],
)
def test_stopped_and_resumed_is_never_stopped(
    small_model: Path, tmp_path: Path, never_stopped: dict[str, Run], every: int, stop_after: int, cut: str
) -> None:
    kept = tmp_path / "checkpoints"
    stopped, whole = spec(schedule={"cut": cut}), never_stopped[cut]
    with pytest.raises(Stopped):
        prune(small_model, stopped, tmp_path, checkpoints=kept, every=every, stop_after=stop_after)

    resumed = prune(small_model, stopped, tmp_path, checkpoints=kept, every=every)

    told = [event["step"] for event in resumed.events if event["type"] == "progress"]
    assert told == list(range(stop_after // every * every + 1, STEPS + 1))
    assert_same(resumed, whole)
    assert len(checkpoints.stored(kept)) <= checkpoints.KEPT


def assert_same(resumed: Run, whole: Run) -> None:
    """To the bit."""
    assert resumed.plan == whole.plan
    assert resumed.walk == whole.walk
    assert resumed.history.steps == whole.history.steps
    assert resumed.history.prunes == whole.history.prunes
    assert resumed.state.keys() == whole.state.keys()
    assert all(torch.equal(tensor, whole.state[name]) for name, tensor in resumed.state.items())


LIMIT = {"type": "perplexity", "increase": 0.06, "largest_ratio": 0.6, "windows": 4}
SLOW: dict[str, Any] = {"train": {"learning_rate": 1e-5}, "reconstruction": {"enabled": False}}
"""So that nothing makes up for a cut."""


@pytest.mark.parametrize(
    ("stop_after", "fields"),
    [
        pytest.param(7, {"train": {"base_precision": "nf4"}}, id="a quantised base, mended twice"),
        pytest.param(5, {"layers_to_remove": 1}, id="a whole layer gone"),
        pytest.param(5, {"ratio": None, "target": LIMIT, **SLOW}, id="on the way to a limit"),
        pytest.param(16, {"ratio": None, "target": LIMIT, **SLOW}, id="a cut taken back"),
    ],
)
def test_what_a_checkpoint_must_hold_beside_adapters(
    small_model: Path, small_text: Path, tmp_path: Path, stop_after: int, fields: dict[str, Any]
) -> None:
    if "base_precision" in fields.get("train", {}):
        pytest.importorskip("bitsandbytes")
    kept, tokenizer = tmp_path / "checkpoints", base_models.open_folder(small_model).tokenizer()
    text = datasets.read(LocalData(source="local", path=str(small_text)), tokenizer, length=32, seed=0).first(32)
    asked = spec(**fields)
    whole = prune(small_model, asked, tmp_path, windows=text)
    with pytest.raises(Stopped):
        prune(small_model, asked, tmp_path, windows=text, checkpoints=kept, every=5, stop_after=stop_after)

    resumed = prune(small_model, asked, tmp_path, windows=text, checkpoints=kept, every=5)

    assert len(resumed.events) < len(whole.events)
    assert_same(resumed, whole)
    if "target" in fields:
        assert whole.walk is not None
        assert whole.walk.dense < whole.walk.kept < whole.walk.limit < (whole.walk.refused or 0)


def calm(**train: Any) -> Any:
    """Without dropout, which draws anew for each micro-batch."""
    return spec_of(train={"steps": STEPS} | train)


def test_a_second_try_with_smaller_micro_batches_is_the_same_training(small_model: Path, tmp_path: Path) -> None:
    kept = tmp_path / "checkpoints"
    with pytest.raises(Stopped):
        prune(small_model, calm(micro_batch_size=4), tmp_path, checkpoints=kept, every=2, stop_after=7)
    resumed = prune(small_model, calm(micro_batch_size=1), tmp_path, checkpoints=kept, every=2)
    whole = prune(small_model, calm(micro_batch_size=4), tmp_path / "whole")
    assert resumed.plan == whole.plan
    assert resumed.losses == pytest.approx(whole.losses, rel=1e-4)


def test_a_second_try_at_a_smaller_rate_learns_by_that(small_model: Path, tmp_path: Path) -> None:
    """At next to no rate, what is resumed stays what it was: as if it had ended there."""
    kept = tmp_path / "checkpoints"
    finishing = Orders(tmp_path / orders.FILE)

    def finish(event: dict[str, Any]) -> None:
        if event.get("step") == 12:
            orders.give(tmp_path, Order.FINISH)

    ended = prune(small_model, calm(), tmp_path, orders=finishing, on_event=finish)
    with pytest.raises(Stopped):
        prune(small_model, calm(), tmp_path, checkpoints=kept, every=12, stop_after=13)
    resumed = prune(small_model, calm(learning_rate=1e-12), tmp_path, checkpoints=kept, every=12)
    assert [event["step"] for event in resumed.events if event["type"] == "progress"] == list(range(13, STEPS + 1))
    for name, tensor in resumed.state.items():
        assert torch.allclose(tensor, ended.state[name], rtol=0, atol=1e-7), name
