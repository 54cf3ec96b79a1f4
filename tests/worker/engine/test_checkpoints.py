"""A checkpoint is taken if it is whole and the job's own, else the one before it, or none."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs import errors
from jobs.specs import CheckpointSpec, JobSpec
from tests.models import random_model
from worker.engine import identity
from worker.engine.checkpoints import KEPT, MANIFEST, WRITING, Checkpoints, stored
from worker.engine.identity import Identity
from worker.engine.windows import Windows


def opened(folder: Path, seed: int = 0) -> Checkpoints:
    found = Checkpoints(folder, Identity({"spec": {"seed": seed}, "base_model": "b", "data": "d"}))
    found.clear()
    return found


def written(folder: Path, count: int) -> Checkpoints:
    found = opened(folder)
    for step in range(1, count + 1):
        found.writing.mkdir()
        (found.writing / "weights").write_bytes(bytes([step]) * 100)
        found.commit(found.writing, step=step, run="pruning", job={"step": step})
    return found


def test_the_newest_is_taken_and_few_are_kept(tmp_path: Path) -> None:
    newest, damaged = written(tmp_path, KEPT + 2).newest()
    assert newest is not None
    assert (newest.job, newest.run, damaged) == ({"step": KEPT + 2}, "pruning", [])
    assert len(stored(tmp_path)) == KEPT


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    assert opened(tmp_path).newest() == (None, [])


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "weights").write_bytes(bytes([3]) * 99),
        lambda folder: (folder / "weights").write_bytes(bytes([9]) * 100),
        lambda folder: (folder / "weights").unlink(),
        lambda folder: (folder / "job.json").write_text("{}"),
        lambda folder: (folder / MANIFEST).unlink(),
        lambda folder: (folder / MANIFEST).write_text('{"form'),
        lambda folder: (folder / MANIFEST).write_text("[]"),
        lambda folder: (folder / MANIFEST).write_text('{"format": 2, "files": {}}'),
        lambda folder: (folder / MANIFEST).write_text(
            (folder / MANIFEST).read_text().replace('"format": 2', '"format": 1')
        ),
    ],
    ids=[
        "cut off",
        "altered",
        "gone",
        "other job.json",
        "no manifest",
        "half a manifest",
        "no object",
        "no files",
        "older format",
    ],
)
def test_a_damaged_one_gives_way_to_the_one_before(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    checkpoints = written(tmp_path, 3)
    damage(stored(tmp_path)[-1])

    newest, damaged = checkpoints.newest()

    assert newest is not None
    assert newest.job == {"step": 2}
    assert len(damaged) == 1
    assert stored(tmp_path)[-1].name in damaged[0]


def test_what_was_being_written_is_forgotten_and_the_count_goes_on(tmp_path: Path) -> None:
    checkpoints = written(tmp_path, 2)
    checkpoints.writing.mkdir()
    (checkpoints.writing / "weights").write_bytes(b"half")

    again = opened(tmp_path)

    assert not (tmp_path / WRITING).exists()
    again.writing.mkdir()
    again.commit(again.writing, step=3, run=None, job={"step": 3})
    assert [folder.name for folder in stored(tmp_path)] == [f"checkpoint-0000000{number}" for number in (1, 2, 3)]


def test_another_jobs_is_refused(tmp_path: Path) -> None:
    written(tmp_path, 1)
    with pytest.raises(errors.CheckpointMismatch, match=r"seed \(0, now 1\)"):
        opened(tmp_path, seed=1).newest()


def job(**method: Any) -> JobSpec:
    return JobSpec.model_validate(
        {
            "base_model": {"source": "local", "path": "/model"},
            "dataset": {"source": "local", "path": "/text"},
            "method": {"type": "lora_prune", "ratio": 0.5} | method,
        }
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("ratio", r"method\.ratio \(0\.5, now 0\.4\)"),
        ("nested", r"method\.train\.weight_decay \(0\.0, now 0\.1\)"),
        ("weights", "base model"),
        ("config", "base model"),
        ("text", "text"),
        ("labels", "text"),
    ],
)
def test_what_changed_is_named(tmp_path: Path, change: str, named: str) -> None:
    model, _ = random_model()
    model.save_pretrained(tmp_path)
    ids_NT = torch.arange(64, dtype=torch.int32).view(4, 16)
    before = identity.of(job(), tmp_path, (Windows(ids_NT, ids_NT),))

    spec = {"ratio": job(ratio=0.4), "nested": job(train={"weight_decay": 0.1})}.get(change, job())
    if change == "weights":
        with torch.no_grad():
            model.get_parameter("model.norm.weight")[0] += 1e-6
        model.save_pretrained(tmp_path)
    if change == "config":
        model.config.rms_norm_eps *= 2
        model.save_pretrained(tmp_path)
    ids_other_NT = ids_NT.roll(1, 1) if change == "text" else ids_NT
    labels_NT = ids_NT.roll(1, 0) if change in ("text", "labels") else ids_NT
    after = identity.of(spec, tmp_path, (Windows(ids_other_NT, labels_NT),))

    before.check(before.content)
    with pytest.raises(errors.CheckpointMismatch, match=named):
        after.check(before.content)


def test_what_does_not_bear_on_the_result_may_change(tmp_path: Path) -> None:
    model, _ = random_model()
    model.save_pretrained(tmp_path)
    noted = identity.of(job(), tmp_path, ()).content
    tried_otherwise = job(train={"learning_rate": 0.0005, "micro_batch_size": 2})
    changed = tried_otherwise.model_copy(update={"name": "another", "checkpoint": CheckpointSpec(every_steps=7)})
    identity.of(changed, tmp_path, ()).check(noted)


def test_the_dtype_bears_on_a_target_in_bytes(tmp_path: Path) -> None:
    model, _ = random_model()
    model.save_pretrained(tmp_path)
    target = {"type": "bytes", "bytes": 10**6}

    def of(dtype: str, **method: Any) -> Identity:
        spec = job().model_dump() | {"method": {"type": "lora_prune"} | method, "output": {"dtype": dtype}}
        return identity.of(JobSpec.model_validate(spec), tmp_path, ())

    of("float32", ratio=0.5).check(of("float16", ratio=0.5).content)
    with pytest.raises(errors.CheckpointMismatch, match=r"output\.dtype \(float16, now float32\)"):
        of("float32", target=target).check(of("float16", target=target).content)


def test_a_field_that_is_younger_than_the_checkpoint_has_not_changed(tmp_path: Path) -> None:
    model, _ = random_model()
    model.save_pretrained(tmp_path)
    now = identity.of(job(), tmp_path, ())
    noted = copy.deepcopy(now.content)
    del noted["spec"]["method"]["lora"]["start"]
    now.check(noted)
    noted["spec"]["method"]["lora"]["gone_since"] = 3
    with pytest.raises(errors.CheckpointMismatch, match=r"method\.lora\.gone_since \(3, now not set\)"):
        now.check(noted)
