"""A training run that is told to stop or to finish does so after the step it is at, and loses nothing by it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from jobs import widths
from jobs.specs import JobSpec
from tests.worker.engine.runs import Run, Stopped, prune, spec_of
from worker.engine import base_models, orders, pipeline
from worker.engine.checkpoints import MANIFEST, stored
from worker.engine.job import Inputs
from worker.engine.orders import Order, Orders
from worker.engine.reporter import Reporter

STEPS = 12
FIRST_CUT, LAST_CUT = 2, 6

Listener = Callable[[dict[str, Any]], None]


def spec(**fields: Any) -> Any:
    return spec_of(train={"steps": STEPS, "micro_batch_size": 2}, lora={"dropout": 0.1}, **fields)


def order_at(folder: Path, step: int, order: Order) -> Listener:
    """Give an order while a step is told."""

    def listen(event: dict[str, Any]) -> None:
        if event["type"] == "progress" and event["step"] == step:
            orders.give(folder, order)

    return listen


def steps(run: Run) -> list[int]:
    return [event["step"] for event in run.events if event["type"] == "progress"]


@pytest.fixture(scope="module")
def whole(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return prune(small_model, spec(), tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("at", [5, STEPS])
def test_a_stopped_run_goes_on_from_the_very_step(small_model: Path, tmp_path: Path, whole: Run, at: int) -> None:
    kept, file = tmp_path / "checkpoints", Orders(tmp_path / orders.FILE)
    with pytest.raises(orders.Stopped):
        prune(small_model, spec(), tmp_path, checkpoints=kept, orders=file, on_event=order_at(tmp_path, at, Order.STOP))
    assert len(stored(kept)) == 1

    resumed = prune(small_model, spec(), tmp_path, checkpoints=kept)

    assert steps(resumed) == list(range(at + 1, STEPS + 1))
    assert resumed.plan == whole.plan
    assert resumed.history.steps == whole.history.steps
    assert all(torch.equal(tensor, whole.state[name]) for name, tensor in resumed.state.items())


def test_the_state_after_the_last_step_is_kept(small_model: Path, tmp_path: Path, whole: Run) -> None:
    """The process ends when the run has ended; what goes on from there trains no step again."""

    def die(event: dict[str, Any]) -> None:
        if event == {"type": "phase", "phase": "merging"}:
            raise Stopped

    kept = tmp_path / "checkpoints"
    with pytest.raises(Stopped):
        prune(small_model, spec(), tmp_path, checkpoints=kept, on_event=die)
    resumed = prune(small_model, spec(), tmp_path, checkpoints=kept)
    assert steps(resumed) == []
    assert all(torch.equal(tensor, whole.state[name]) for name, tensor in resumed.state.items())


@pytest.mark.parametrize(
    ("cut", "at", "ends_at"),
    [
        pytest.param("every_event", 1, FIRST_CUT, id="not before the first cut"),
        ("after_training", 3, 3),
        ("every_event", 9, 9),
        pytest.param("every_event", STEPS, STEPS, id="last"),
    ],
)
def test_a_run_that_is_to_finish_ends_with_what_it_has(
    small_model: Path, tmp_path: Path, cut: str, at: int, ends_at: int
) -> None:
    run = prune(
        small_model,
        spec(schedule={"cut": cut}),
        tmp_path,
        orders=Orders(tmp_path / orders.FILE),
        on_event=order_at(tmp_path, at, Order.FINISH),
    )
    assert steps(run) == list(range(1, ends_at + 1))
    assert run.ended_early is (ends_at < STEPS)
    # The target of 0.4 is reached with the last cut; the weights are those of the model that was cut so far.
    reached = widths.ratio(base_models.open_folder(small_model).shape, run.plan.layout)
    assert (reached > 0.38) is (ends_at >= LAST_CUT)
    assert reached > 0
    for index, layer in enumerate(run.plan.layers):
        assert run.state[f"model.layers.{index}.mlp.down_proj.weight"].shape[1] == len(layer.ffn_channels)


def test_a_run_that_goes_on_only_to_finish_is_what_its_checkpoint_was(small_model: Path, tmp_path: Path) -> None:
    """Though the next step would have been one of the schedule's cuts."""
    kept, one, other = (tmp_path / name for name in ("checkpoints", "one", "other"))
    one.mkdir()
    other.mkdir()
    file = Orders(one / orders.FILE)
    finished = prune(small_model, spec(), one, orders=file, on_event=order_at(one, 3, Order.FINISH))
    file = Orders(other / orders.FILE)
    with pytest.raises(orders.Stopped):
        prune(small_model, spec(), other, checkpoints=kept, orders=file, on_event=order_at(other, 3, Order.STOP))
    orders.give(other, Order.FINISH)

    resumed = prune(small_model, spec(), other, checkpoints=kept, orders=file)

    assert (steps(resumed), resumed.ended_early, resumed.plan) == ([], True, finished.plan)
    assert all(torch.equal(tensor, finished.state[name]) for name, tensor in resumed.state.items())


def test_checkpoints_are_also_due_by_the_clock(small_model: Path, tmp_path: Path) -> None:
    """A thousandth of a second has passed after every step."""
    kept = tmp_path / "checkpoints"
    prune(small_model, spec(), tmp_path, checkpoints=kept, every_minutes=0.001 / 60)
    newest = stored(kept)[-1]
    assert newest.name == f"checkpoint-{STEPS:08d}"
    manifest = json.loads((newest / MANIFEST).read_text())
    assert 0.35 < manifest["sparsity"] < 0.45
    assert manifest["perplexity"] > 1


def test_a_reference_that_is_to_finish_leaves_no_trace(small_model: Path, small_text: Path, tmp_path: Path) -> None:
    """The job goes on with the dense model as it was, norms that learned among it."""

    def weights(name: str, at: int) -> dict[str, Tensor]:
        work = tmp_path / name
        work.mkdir()
        listen = order_at(work, at, Order.FINISH)
        if not at:
            orders.give(work, Order.FINISH)
        job = JobSpec.model_validate(
            {
                "base_model": {"source": "local", "path": str(small_model)},
                "dataset": {"source": "local", "path": str(small_text), "max_samples": 60},
                "method": spec_of(train={"steps": 6}).model_dump(),
                "evaluation": {"max_windows": 8, "finetuned_reference": True, "benchmark": False},
            }
        )
        inputs = Inputs(job.base_model, job.dataset, None, job.texts)  # type: ignore[arg-type]
        file = Orders(work / orders.FILE)
        pipeline.compress(job, inputs, work / "model", work, Reporter(listen), orders=file)
        return load_file(work / "model" / "model.safetensors")

    never, begun = weights("never", at=0), weights("begun", at=3)
    assert never.keys() == begun.keys()
    assert all(torch.equal(tensor, begun[name]) for name, tensor in never.items())
