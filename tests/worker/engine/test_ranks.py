"""Two processes train one model: alike to the bit, and as one process does to rounding."""

from pathlib import Path

import pytest
import torch
from torch import multiprocessing

from cli.stack.ports import free_block
from jobs import errors
from tests.worker.engine import two_processes
from tests.worker.engine.runs import prune
from worker.engine import checkpoints, ranks


def test_two_processes_are_as_good_as_one(small_model: Path, tmp_path: Path) -> None:
    (port,) = free_block(1)
    multiprocessing.spawn(two_processes.main, args=(port, small_model, tmp_path), nprocs=two_processes.PROCESSES)
    first, second = (torch.load(tmp_path / f"process-{rank}.pt", weights_only=True) for rank in range(2))
    alone = prune(small_model, two_processes.spec(), tmp_path / "alone")

    assert first["plan"] == second["plan"] == alone.plan.to_json()
    assert first["losses"] == second["losses"]
    assert first["losses"] == pytest.approx(alone.losses, rel=1e-4)
    for name, tensor in first["state"].items():
        assert torch.equal(tensor, second["state"][name]), name
        assert (tensor - alone.state[name]).abs().max() <= 1e-3 * tensor.abs().max(), name
    newest = checkpoints.stored(tmp_path / "checkpoints")[-1]
    assert {"rng_state_0.pth", "rng_state_1.pth", "plan.json"} <= {path.name for path in newest.iterdir()}


def test_sharding_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(errors.ShardingImpossible, match="ACCELERATE_USE_FSDP"):
        ranks.join()


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "count", lambda: 3)
    assert ranks.share_of(12) == 4
    with pytest.raises(errors.BatchIndivisible, match="8 sequences cannot be divided among 3"):
        ranks.share_of(8)
