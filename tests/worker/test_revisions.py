"""What a job's success leaves in the registry, whoever else publishes at that moment."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app import store
from jobs import transitions
from jobs.errors import StorageUnavailable
from jobs.files import Files, blob_key
from jobs.registry_tables import ModelRow, RefRow, RevisionFileRow, RevisionRow
from jobs.revisions import repository
from jobs.settings import Settings
from jobs.specs import JobSpec
from jobs.tables import DEFAULT_PROJECT
from tests import revisions
from worker import contents, facts, leases
from worker.blobs import verify
from worker.revisions import NewRevision

Sessions = sessionmaker[Session]


def publish(
    sessions: Sessions, spec: JobSpec, *new: NewRevision, step: int | None = None, from_step: int | None = None
) -> str:
    """The id of a job that has succeeded with these; `from_step`: of another's checkpoint that it is made of."""
    with sessions.begin() as session:
        job_id = store.create(session, spec, project_id=DEFAULT_PROJECT, max_attempts=1).id
        if from_step is not None:
            checkpoint = {"job_id": "cjob_other", "number": 1, "step": from_step}
            assert transitions.change(session, job_id, from_checkpoint=checkpoint)
        claim = leases.claim(session, job_id, "worker", 60)
        assert claim is not None
        if step:
            assert leases.progress(session, claim, "pruning", {"step": step})
    with sessions.begin() as session:
        assert leases.succeed(session, claim, {}, new)
    return job_id


def refs(sessions: Sessions) -> dict[str, tuple[str, str]]:
    with sessions() as session:
        return {row.name: (row.kind, row.commit) for row in session.scalars(select(RefRow))}


def test_a_job_publishes_each_folder_as_a_revision_of_one_model(sessions: Sessions, spec: JobSpec) -> None:
    main = revisions.of_contents({"config.json": b"{}", "model.safetensors": b"weights"})
    small = revisions.of(revisions.file("model.safetensors", 3), branch="w8a8")
    job_id = publish(sessions, spec, main, small, step=40)
    assert refs(sessions) == {
        "main": ("branch", main.commit),
        job_id: ("tag", main.commit),
        "step-40": ("tag", main.commit),
        "w8a8": ("branch", small.commit),
        f"{job_id}-w8a8": ("tag", small.commit),
    }
    with sessions() as session:
        model = session.scalars(select(ModelRow)).one()
        assert (model.name, model.visibility, model.deleted_at) == ("small-and-n-code", "private", None)
        rows = {row.commit: row for row in session.scalars(select(RevisionRow))}
        assert {commit: row.bytes for commit, row in rows.items()} == {main.commit: 9, small.commit: 3}
        row = rows[main.commit]
        assert (row.job_id, row.base_model, row.title) == (job_id, "HuggingFaceTB/SmolLM2-135M", spec.name)
        large = {row.path: row.is_large for row in session.scalars(select(RevisionFileRow))}
        assert large == {"config.json": False, "model.safetensors": True}


def test_the_same_content_again_is_the_same_revision_under_one_more_name(sessions: Sessions, spec: JobSpec) -> None:
    new = revisions.of_contents({"config.json": b"{}"})
    other = revisions.of_contents({"config.json": b"[]"})
    jobs = [publish(sessions, spec, content, step=7) for content in (new, other, new)]
    assert [refs(sessions)[job_id][1] for job_id in jobs] == [new.commit, other.commit, new.commit]
    assert refs(sessions)["main"] == ("branch", new.commit)
    assert refs(sessions)["step-7"] == ("tag", new.commit)  # a tag stays where it is
    with sessions() as session:
        assert len(session.scalars(select(RevisionRow)).all()) == 2
        assert [row.path for row in store.artifacts(session, jobs[2], project_id=DEFAULT_PROJECT)] == ["config.json"]


def test_a_published_checkpoint_takes_no_name_from_what_whole_jobs_have_made(sessions: Sessions, spec: JobSpec) -> None:
    whole = revisions.of_contents({"config.json": b"{}"})
    early, earlier = revisions.of_contents({"config.json": b"[1]"}), revisions.of_contents({"config.json": b"[2]"})
    first = publish(sessions, spec, early, from_step=7)
    assert refs(sessions) == {name: (kind, early.commit) for name, kind in _names(first, 7)}
    publish(sessions, spec, whole, step=40)
    second = publish(sessions, spec, earlier, from_step=3)
    found = refs(sessions)
    assert (found["main"], found["step-7"]) == (("branch", whole.commit), ("tag", early.commit))
    assert {name: kind for name, (kind, commit) in found.items() if commit == earlier.commit} == {
        second: "tag",
        "step-3": "tag",
    }


def _names(job_id: str, step: int) -> list[tuple[str, str]]:
    return [("main", "branch"), (job_id, "tag"), (f"step-{step}", "tag")]


def test_jobs_that_end_at_once_all_get_their_names(sessions: Sessions, spec: JobSpec) -> None:
    new = [revisions.of_contents({"config.json": str(number % 3).encode()}) for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        jobs = list(pool.map(lambda content: publish(sessions, spec, content), new))
    found = refs(sessions)
    assert [found[job_id] for job_id in jobs] == [("tag", content.commit) for content in new]
    with sessions() as session:
        assert len(session.scalars(select(ModelRow)).all()) == 1


@pytest.mark.parametrize(
    ("name", "asked", "expected"),
    [
        (None, None, "smollm2-135m-pruned"),
        ("A Name: 2", None, "a-name-2"),
        ("模型", None, "smollm2-135m-pruned"),
        ("A Name", "My.Model_1", "My.Model_1"),
    ],
)
def test_a_model_is_called_as_asked_or_after_its_job(
    sessions: Sessions, spec: JobSpec, name: str | None, asked: str | None, expected: str
) -> None:
    output = spec.output.model_copy(update={"repository": asked})
    with sessions.begin() as session:
        named = spec.model_copy(update={"name": name, "output": output})
        assert repository(store.create(session, named, project_id=DEFAULT_PROJECT, max_attempts=1)) == expected


def test_what_storage_keeps_wrongly_is_found_and_sent_again(settings: Settings, tmp_path: Path) -> None:
    files, nothing = Files(settings), lambda: None
    (tmp_path / "config.json").write_bytes(b"{}")
    (file,) = contents.read(tmp_path, nothing)
    files.put_bytes(blob_key(file.sha256), b"[]")
    with pytest.raises(StorageUnavailable, match="other bytes"):
        verify(files, file, nothing)
    assert files.size(blob_key(file.sha256)) is None
    with pytest.raises(StorageUnavailable, match="lost"):
        verify(files, file, nothing)
    files.put_bytes(blob_key(file.sha256), b"{}")
    verify(files, file, nothing)


def test_files_have_the_names_that_git_gives_them(tmp_path: Path) -> None:
    (tmp_path / "nested").mkdir()
    (tmp_path / "nested" / "a.txt").write_bytes(b"hello\n")
    (tmp_path / "model.safetensors").write_bytes(b"hello\n")
    large, small = contents.read(tmp_path, lambda: None)
    sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    assert (small.path, small.git_oid) == ("nested/a.txt", "ce013625030ba8dba906f756967f9e9ca394464a")
    assert (large.is_large, large.sha256, large.bytes) == (True, sha256, 6)
    assert large.git_oid == "fa61e1ef71c9908c0926776a4aa3504b3a27f159"
    assert not small.is_large


def test_what_the_files_say_is_known_without_reading_them(small_model: Path) -> None:
    read = facts.read(small_model)
    assert read.shown["config"]["model_type"] == "llama"
    assert sum(read.shown["parameters"].values()) > 0
