"""Jobs on the whole of Prunery: its API, relay, worker and engine as processes, on real servers and a real model."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cli.recipe import model_source
from cli.stack.stack import Stack
from jobs.states import FINAL, Status
from tests.cli.conftest import prunery
from tests.worker.desk import wait_until

JOBS = "/v1/compression/jobs"
Job = dict[str, Any]


class Caller:
    """Somebody with the address and the key."""

    def __init__(self, stack: Stack) -> None:
        self.http = httpx2.Client(
            base_url=stack.url,
            headers={"Authorization": f"Bearer {stack.api_key}"},
            timeout=30,
            trust_env=False,
            follow_redirects=True,
        )

    def submit(self, model: Path, text: Path, *, steps: int, **more: Any) -> Job:
        uploaded = self.http.post("/v1/files", params={"name": text.name}, content=text.read_bytes())
        assert uploaded.status_code == 201, uploaded.text
        spec = {
            "name": "a walk",
            "base_model": {"source": "local", "path": str(model)},
            "dataset": {"source": "file", "id": uploaded.json()["id"]},
            "method": {
                "type": "lora_prune",
                "ratio": 0.25,
                "round_ffn_to": 4,
                "train": {"steps": steps, "batch_size": 4, "sequence_length": 64, "learning_rate": 3e-3},
                "schedule": {"prune_every_steps": 2},
            },
            "evaluation": {"max_windows": 8, "finetuned_reference": False, "benchmark": False},
            "metadata": {"purpose": "test"},
            **more,
        }
        answer = self.http.post(JOBS, json=spec)
        assert answer.status_code == 202, answer.text
        job: Job = answer.json()
        assert answer.headers["Location"].endswith(f"{JOBS}/{job['id']}")
        return job

    def get(self, job: Job) -> Job:
        answer = self.http.get(f"{JOBS}/{job['id']}")
        assert answer.status_code == 200, answer.text
        found: Job = answer.json()
        return found

    def cancel(self, job: Job) -> Job:
        answer = self.http.post(f"{JOBS}/{job['id']}/cancel")
        assert answer.status_code == 200, answer.text
        cancelled: Job = answer.json()
        return cancelled

    def events(self, job: Job) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        more = True
        while more:
            after = events[-1]["seq"] if events else 0
            page = self.http.get(f"{JOBS}/{job['id']}/events", params={"after": after, "limit": 100}).json()
            events += page["data"]
            more = page["has_more"]
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        return events

    def wait(self, job: Job, condition: Callable[[Job], bool], seconds: float = 120) -> Job:
        """Until the condition holds; fails if the job ends before, with its events."""
        end = time.monotonic() + seconds
        while not condition(found := self.get(job)):
            assert time.monotonic() < end, (found, self.events(job))
            assert found["status"] not in FINAL, (found, self.events(job))
            time.sleep(0.1)
        return found

    def wait_for(self, job: Job, status: Status) -> Job:
        return self.wait(job, lambda found: found["status"] == status)


@pytest.fixture
def caller(stack: Stack) -> Iterator[Caller]:
    caller = Caller(stack)
    yield caller
    caller.http.close()


@pytest.fixture
def worker(stack: Stack) -> Iterator[int]:
    """The process id of the worker, which runs again afterwards whatever happened to it."""
    yield stack.processes["worker-1"].pid
    if not stack.processes["worker-1"].running:
        stack.start_worker("worker-1")
        stack.wait_for_worker("worker-1")


def trains(job: Job) -> bool:
    return job["progress"] is not None and (job["progress"]["step"] or 0) > 0


def engines(stack: Stack) -> list[int]:
    """The process ids of the engines that this stack has started."""
    found = []
    root = str(stack.servers.folder.root).encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"worker.child" in command and root in command:
            found.append(int(folder.name))
    return found


def test_a_model_goes_in_and_a_smaller_one_that_loads_comes_out(
    stack: Stack, caller: Caller, small_model: Path, small_text: Path, tmp_path: Path
) -> None:
    sent = prunery("upload", str(small_model), PRUNERY_URL=stack.url, PRUNERY_API_KEY=stack.api_key)
    assert sent.returncode == 0, sent.stderr
    source = model_source(sent.stdout.strip())
    job = caller.submit(small_model, small_text, steps=12, base_model=source)
    assert (job["status"], job["attempt"]) == ("queued", 0)
    done = caller.wait_for(job, Status.SUCCEEDED)
    assert (done["attempt"], done["error"], done["metadata"]) == (1, None, {"purpose": "test"})
    assert done["progress"]["percent"] == 100
    assert done["result"]["base_model"]["revision"] == source["revision"]
    kept = caller.http.get(job["urls"]["layers"]).json()
    assert (kept["source"], len(kept["data"])) == ("report", done["plan"]["layers"])
    assert all(len(layer["ffn_channels"]) == layer["ffn"]["after"] for layer in kept["data"])
    events = caller.events(job)
    phases = [event["data"]["phase"] for event in events if event["type"] == "phase"]
    assert phases[0] == "preparing"
    assert phases[-1] == "uploading"
    assert {"downloading_base", "pruning", "exporting", "verifying", "evaluating"} <= set(phases)
    assert [event["type"] for event in events][:2] == ["queued", "running"]
    assert events[-1]["type"] == "succeeded"
    assert any(event["type"] == "prune" for event in events)

    folder = tmp_path / "model"
    for artifact in caller.http.get(f"{JOBS}/{job['id']}/artifacts").json()["data"]:
        content = caller.http.get(f"{JOBS}/{job['id']}/artifacts/{artifact['path']}").content
        assert (len(content), hashlib.sha256(content).hexdigest()) == (artifact["bytes"], artifact["sha256"])
        (folder / artifact["path"]).parent.mkdir(parents=True, exist_ok=True)
        (folder / artifact["path"]).write_bytes(content)
    result = done["result"]
    version = caller.http.get(f"/v1/models/{result['model']}/versions/{job['id']}").json()
    assert (version["commit"], version["lineage"]["job"]) == (result["commit"], job["id"])
    assert {"main", job["id"]} <= set(version["refs"])
    assert version["quality"]["pruned"]["perplexity"] == result["pruned"]["perplexity"]
    assert version["certificate"]["safetensors"]
    assert version["parameters"] == {"F32": result["pruned"]["stored_parameters"]}
    assert {file["path"] for file in version["files"]} == {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    }
    code = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
dense, pruned = (AutoModelForCausalLM.from_pretrained(folder) for folder in sys.argv[1:])
tokenizer = AutoTokenizer.from_pretrained(sys.argv[2])
prompt = tokenizer("Once upon a time", return_tensors="pt")
ids = pruned.generate(**prompt, max_new_tokens=8, do_sample=False)
assert ids.shape[1] > prompt.input_ids.shape[1]
sizes = [sum(parameter.numel() for parameter in model.model.layers.parameters()) for model in (dense, pruned)]
assert 0.73 < sizes[1] / sizes[0] < 0.77, sizes
"""
    subprocess.run([sys.executable, "-I", "-c", code, str(small_model), str(folder)], check=True, timeout=120)


def test_a_job_whose_worker_is_killed_succeeds_nevertheless(
    stack: Stack, caller: Caller, worker: int, small_model: Path, small_text: Path
) -> None:
    job = caller.submit(small_model, small_text, steps=60)
    caller.wait(job, trains)
    assert len(engines(stack)) == 1
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not engines(stack), 5)
    wait_until(lambda: not stack.processes["worker-1"].running, 5)
    stack.start_worker("worker-1")
    done = caller.wait_for(job, Status.SUCCEEDED)
    assert (done["attempt"], done["result"] is not None) == (2, True)
    assert [event["data"].get("reason") for event in caller.events(job) if event["type"] == "queued"] == [
        *(None, "worker_lost")
    ]


def test_a_checkpoint_is_published_as_it_is_and_its_job_goes_on(
    stack: Stack, caller: Caller, small_model: Path, small_text: Path
) -> None:
    """The only worker publishes it while the job rests."""
    cli = partial(prunery, PRUNERY_URL=stack.url, PRUNERY_API_KEY=stack.api_key)
    job = caller.submit(small_model, small_text, steps=200, name="published early", checkpoint={"every_steps": 5})
    place = job["urls"]["checkpoints"]
    listed = lambda: [one for one in caller.http.get(place).json()["data"] if one["publishable"]]  # noqa: E731
    wait_until(lambda: bool(listed()), 60)
    caller.http.post(job["urls"]["pause"])
    caller.wait_for(job, Status.PAUSED)
    chosen = listed()[0]
    shown = cli("checkpoints", job["id"])
    assert (shown.returncode, str(chosen["step"]) in shown.stdout) == (0, True), shown.stderr

    made = cli("publish", job["id"], str(chosen["number"]), "--json")

    assert made.returncode == 0, made.stderr
    done = caller.wait_for(json.loads(made.stdout), Status.SUCCEEDED)
    result = done["result"]
    assert (done["name"], result["model"]) == (f"published early, step {chosen['step']}", "default/published-early")
    assert result["achieved_ratio"] == pytest.approx(chosen["sparsity"])
    assert caller.http.get(done["urls"]["report"]).json()["ended_early_at"] == chosen["step"]
    told = [event["data"] for event in caller.events(done) if event["type"] == "resumed"]
    assert [(one["checkpoint"], one["step"], one["lost_steps"]) for one in told] == [(1, chosen["step"], None)]
    version = caller.http.get(f"/v1/models/{result['model']}/versions/step-{chosen['step']}").json()
    assert (version["commit"], version["lineage"]["job"]) == (result["commit"], done["id"])
    caller.http.post(job["urls"]["resume"])
    caller.wait(job, lambda found: (found["progress"] or {}).get("step", 0) > listed()[-1]["step"])
    caller.cancel(job)
    caller.wait_for(job, Status.CANCELLED)


def test_jobs_are_cancelled_while_they_wait_and_while_they_run(
    stack: Stack, caller: Caller, small_model: Path, small_text: Path
) -> None:
    running = caller.submit(small_model, small_text, steps=10_000)
    waiting = caller.submit(small_model, small_text, steps=10_000)
    caller.wait(running, trains)
    assert caller.cancel(waiting)["status"] == "cancelled"
    assert caller.get(waiting)["started_at"] is None

    asked = time.monotonic()
    assert caller.cancel(running)["status"] == "cancelling"
    ended = caller.wait_for(running, Status.CANCELLED)
    assert time.monotonic() - asked < 10
    assert (ended["reason"], ended["result"]) == ("user_requested", None)
    assert engines(stack) == []
    assert caller.http.get(f"{JOBS}/{running['id']}/artifacts").json()["data"] == []

    assert caller.cancel(running)["version"] == ended["version"]
    after = caller.submit(small_model, small_text, steps=2)
    caller.wait(after, trains)
    assert [event["type"] for event in caller.events(waiting)] == ["queued", "cancelled"]
    caller.cancel(after)
