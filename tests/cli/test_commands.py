"""The commands against the real API, with the worker's part played through the database."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from app import store
from cli.main import COMMANDS, main
from cli.recipe import model_source
from jobs.tables import DEFAULT_PROJECT, JobRow
from tests.cli.conftest import PRUNERY, Service, prunery

RESULT = {
    "achieved_ratio": 0.301,
    "dense": {"parameters": 134_515_008, "perplexity": 14.25},
    "dense_finetuned": {"perplexity": 11.0},
    "pruned": {"parameters": 106_000_000, "perplexity": 19.77},
}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0, result.output
    assert "Example" in result.output
    assert f"prunery {command}" in result.output


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; from cli.main import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"rich", "httpx2", "pydantic", "torch", "sqlalchemy"} & set(modules)


def test_a_text_on_this_machine_is_uploaded_and_the_job_is_made(
    service: Service, small_model: Path, small_text: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    method = "{ratio: 0.3, round_ffn_to: 4, train: {sequence_length: 64}}"
    recipe.write_text(f"base_model: {small_model}\ndataset: {small_text}\nmethod: {method}\n")

    done = prunery("submit", "recipe.yaml", "--steps", "5", "--eval-data", str(small_text), cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    with service.sessions() as session:
        spec = store.get(session, done.stdout.strip(), project_id=DEFAULT_PROJECT).spec
        for source in (spec["dataset"], spec["evaluation"]["dataset"]):
            assert source["source"] == "file"
            assert store.file(session, source["id"], project_id=DEFAULT_PROJECT).bytes == small_text.stat().st_size
    assert spec["method"]["train"]["steps"] == 5


def test_what_the_service_refuses_is_said_field_by_field(service: Service, small_text: Path, tmp_path: Path) -> None:
    hub = tmp_path / "recipe.json"
    hub.write_text(json.dumps({"base_model": "org/name", "dataset": "hub:org/text", "method": {"ratio": 1.5, "x": 1}}))
    refused = run("submit", str(hub))
    assert refused.exit_code == 2
    assert "/method/ratio" in refused.output
    assert "/method/x" in refused.output

    # With a text to upload it is said before a byte is sent.
    assert run("submit", str(hub), "--data", str(small_text)).exit_code == 2
    wrong_key = run("list", "--api-key", "wrong")
    assert wrong_key.exit_code == 2
    assert "unauthorized" in wrong_key.output
    assert run("status", "cjob_nowhere").exit_code == 2
    with service.sessions() as session:
        assert session.scalars(select(JobRow)).all() == []
    assert not list(service.files.list_prefix(f"s3://{service.files.bucket}/uploads", limit=1))


def test_a_text_over_the_limit_is_refused_while_it_is_sent(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.kill()
    monkeypatch.setenv("PRUNERY_MAX_UPLOAD_BYTES", "1000000")
    service.start()
    (tmp_path / "large.txt").write_bytes(b"word " * 10_000_000)
    done = prunery("submit", "--model", "org/name", "--data", "large.txt", "--ratio", "0.3", cwd=tmp_path)
    assert done.returncode == 2
    assert "1000000 bytes" in done.stderr


def test_the_exit_code_tells_how_a_job_stands(service: Service) -> None:
    queued, running, succeeded, failed = (service.queue() for _ in range(4))
    service.progress(service.claim(running), "pruning", percent=41.8, step=12, total_steps=100, loss=2.3)
    service.succeed(service.claim(succeeded), {}, RESULT)
    service.fail(service.claim(failed), code="dataset_empty", message="There is no text.", hint="Give some.")
    cancelled = service.queue()
    assert "is cancelled" in run("cancel", cancelled).output

    assert {job: run("status", job).exit_code for job in (queued, running, succeeded, failed, cancelled)} == {
        queued: 0,
        running: 0,
        succeeded: 0,
        failed: 1,
        cancelled: 3,
    }
    assert "step 12/100" in run("status", running).output
    assert "134.5 M → 106.0 M" in run("status", succeeded).output
    assert "There is no text. (dataset_empty)" in run("status", failed).output
    assert {job: run("watch", job).exit_code for job in (succeeded, failed, cancelled)} == {
        succeeded: 0,
        failed: 1,
        cancelled: 3,
    }
    assert "No worker is there. 0 ahead of it." in run("status", queued).output
    refused = run("cancel", succeeded)
    assert refused.exit_code == 2
    assert "invalid_state_transition" in refused.output


def test_a_model_is_uploaded_once_and_named_as_a_base(service: Service, small_model: Path) -> None:
    first = run("upload", str(small_model), "--as", "small")
    assert first.exit_code == 0, first.output
    place = first.stdout.strip()
    assert place.startswith("registry:default/small@")
    assert run("upload", str(small_model), "--as", "small").stdout.strip() == place
    assert model_source(place) == {"source": "registry", "id": "default/small", "revision": place.rpartition("@")[2]}


def test_a_job_is_paused_resumed_finished_and_begun_anew(service: Service) -> None:
    job_id, running = service.queue(), service.queue()
    service.claim(running)
    assert "is paused" in run("pause", job_id, "--reason", "lunch").output
    assert run("status", job_id).exit_code == 0
    assert "paused" in run("list").output
    assert "is changed" in run("edit", job_id, "--priority", "high", "--set", "team=nlp").output
    assert json.loads(run("status", job_id, "--json").output)["priority"] == "high"
    assert run("edit", running, "--priority", "low").exit_code == 2
    assert "waits for a worker" in run("resume", job_id, "--micro-batch-size", "2").output
    assert json.loads(run("status", job_id, "--json").output)["overrides"] == {"micro_batch_size": 2}
    assert run("finish", job_id).exit_code == 2
    assert "will publish" in run("finish", running).output
    assert "is being paused" in run("pause", running).output
    assert "pausing" in run("status", running).output
    assert run("retry", job_id).exit_code == 0
    run("cancel", job_id)
    assert "waits for a worker" in run("retry", job_id).output
    assert [event.data.get("message") for event in service.events(job_id) if event.type == "paused"] == ["lunch"]


def test_the_list_goes_over_all_pages(service: Service) -> None:
    ids = [service.queue(name=f"job {number}") for number in range(105)]
    listed = [job["id"] for job in json.loads(run("list", "--limit", "1000", "--json").stdout)]
    assert listed == ids[::-1]
    assert len(run("list", "--limit", "7").stdout.splitlines()) == 8
    assert json.loads(run("list", "--status", "failed", "--json").stdout) == []


def test_a_job_is_followed_over_a_restart_of_the_service(service: Service) -> None:
    job_id = service.queue()
    watch = subprocess.Popen(
        [*PRUNERY, "watch", job_id], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    logs = subprocess.Popen([*PRUNERY, "logs", job_id, "--follow"], stdout=subprocess.PIPE, text=True, env=os.environ)
    claim = service.claim(job_id)
    service.say(claim, ("phase", {"phase": "pruning"}))
    service.progress(claim, "pruning", percent=41.8, step=12, total_steps=100, sparsity=0.12, loss=2.3)
    assert watch.stderr is not None
    _read_until(watch, "step 12/100")
    assert logs.stdout is not None
    assert "queued" in logs.stdout.readline()  # both are following now
    service.kill()
    _read_until(watch, "trying again")
    service.start()
    prune = {"step": 20, "sparsity": 0.3, "kv_groups": 2, "ffn_channels": 128}
    service.say(claim, ("prune", prune), ("log", {"level": "warning", "message": "a short text"}))
    service.succeed(claim, {}, RESULT)

    out, rest = watch.communicate(timeout=60)
    assert watch.returncode == 0
    assert "answers again" in rest
    assert "a short text" in rest
    assert "perplexity 14.2 → 19.8" in out
    followed, _ = logs.communicate(timeout=60)
    assert logs.returncode == 0
    assert "pruned step=20 sparsity=0.3 kv_groups=2 ffn_channels=128" in followed
    assert followed.splitlines()[-1].endswith("succeeded")


def test_whoever_stops_watching_leaves_the_job_alone(service: Service) -> None:
    job_id = service.queue()
    watch = subprocess.Popen([*PRUNERY, "watch", job_id], stderr=subprocess.PIPE, text=True, env=os.environ)
    _read_until(watch, "waiting for a worker")
    watch.send_signal(signal.SIGINT)
    _, rest = watch.communicate(timeout=60)
    assert watch.returncode == 130
    assert "The job goes on" in rest
    assert json.loads(run("status", job_id, "--json").stdout)["status"] == "queued"


def test_nobody_at_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = prunery("list", PRUNERY_URL="http://127.0.0.1:9", PRUNERY_API_KEY="key")
    assert nobody.returncode == 1
    assert "Is `prunery up` running?" in nobody.stderr

    monkeypatch.delenv("PRUNERY_URL", raising=False)
    monkeypatch.delenv("PRUNERY_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    unknown = run("list")
    assert unknown.exit_code == 2
    assert "prunery up" in unknown.output
    Path("prunery-data").mkdir()
    Path("prunery-data/connection.json").write_text('{"url": "http://127.0.0.1:9", "api_key": "secret"}')
    assert "Nothing answers at http://127.0.0.1:9" in run("list").output
    # The key in the file is not for others.
    assert "has no key for" in run("list", "--url", "http://127.0.0.1:10").output


def _read_until(process: "subprocess.Popen[str]", words: str) -> None:
    assert process.stderr is not None
    end = time.monotonic() + 60
    for line in process.stderr:
        if words in line:
            return
        assert time.monotonic() < end
    raise AssertionError(f"{words!r} was never said")
