"""Two processes train one model: alike to the bit, and as one process does to rounding."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import multiprocessing

from cli.stack.ports import free_block
from jobs import errors
from tests.worker.engine import two_processes
from tests.worker.engine.runs import prune
from worker.engine import checkpoints, ranks


def spawn(model: Path, folder: Path, stop_after: int | None = None, *, shard_base: bool = False) -> None:
    (port,) = free_block(1)
    main = partial(two_processes.main, shard_base=shard_base)
    multiprocessing.spawn(main, args=(port, model, folder, stop_after), nprocs=two_processes.PROCESSES)


def results(folder: Path) -> list[dict[str, Any]]:
    return [torch.load(folder / f"process-{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="module")
def never_stopped(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("never-stopped")
    spawn(small_model, folder)
    return folder


def test_two_processes_are_as_good_as_one(small_model: Path, tmp_path: Path, never_stopped: Path) -> None:
    first, second = results(never_stopped)
    alone = prune(small_model, two_processes.spec(), tmp_path / "alone")

    assert first["plan"] == second["plan"] == alone.plan.to_json()
    assert first["losses"] == second["losses"]
    assert first["losses"] == pytest.approx(alone.losses, rel=1e-4)
    for name, tensor in first["state"].items():
        assert torch.equal(tensor, second["state"][name]), name
        assert (tensor - alone.state[name]).abs().max() <= 1e-3 * tensor.abs().max(), name
    newest = checkpoints.stored(never_stopped / "checkpoints")[-1]
    assert {"rng_state_0.pth", "rng_state_1.pth", "plan.json"} <= {path.name for path in newest.iterdir()}


def test_two_processes_with_a_part_each_go_on_from_where_both_stopped(
    small_model: Path, tmp_path: Path, never_stopped: Path
) -> None:
    """After the first cut, in the middle of an epoch; as two whole models come to that never stop, to the bit."""
    spawn(small_model, tmp_path, stop_after=6, shard_base=True)
    assert not list(tmp_path.glob("process-*.pt"))
    spawn(small_model, tmp_path, shard_base=True)
    parts, wholes = results(tmp_path), results(never_stopped)
    for part, whole in zip(parts, wholes, strict=True):
        assert part["plan"] == whole["plan"]
        assert part["losses"] == whole["losses"]
    first, expected = parts[0]["state"], wholes[0]["state"]
    assert first.keys() == expected.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, expected[name]), name


def test_sharding_by_others_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(errors.ShardingImpossible, match="ACCELERATE_USE_FSDP"):
        ranks.join()


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "count", lambda: 3)
    assert ranks.share_of(12) == 4
    with pytest.raises(errors.BatchIndivisible, match="8 sequences cannot be divided among 3"):
        ranks.share_of(8)
