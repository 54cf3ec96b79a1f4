"""The whole OpenAPI document against a real server, with a key: nothing happens that the document does not say."""

import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from app.routes.jobs import LONGEST_WAIT
from tests.cli.conftest import Service

SECONDS = 60
CONFIG = """
request-timeout = {timeout}
max-stream-events = 3
continue-on-failure = true
warnings = false

[dictionaries]
jobs = {{ values = {jobs} }}
files = {{ values = {files} }}
paths = {{ values = ["model.safetensors", "report.json"] }}
namespaces = {{ values = ["default"] }}
models = {{ values = ["something-pruned"] }}
waits = {{ values = [0.2, 1, 61] }}

[parameters]
"path.job_id" = {{ dictionary = "jobs", probability = 0.7 }}
"path.file_id" = {{ dictionary = "files", probability = 0.7 }}
"path.path" = {{ dictionary = "paths", probability = 0.7 }}
"path.namespace" = {{ dictionary = "namespaces", probability = 0.8 }}
"path.name" = {{ dictionary = "models", probability = 0.8 }}
"path.revision" = {{ dictionary = "jobs", probability = 0.7 }}
"query.wait" = {{ dictionary = "waits", probability = 1.0 }}
"query.jobs" = {{ dictionary = "jobs", probability = 0.7 }}
"""


@pytest.fixture
def jobs(service: Service) -> list[str]:
    """One in each of several states, with all that a job may have."""
    queued, cancelled = service.queue(), service.queue(name="a name", metadata={"team": "nlp"})
    running, failed = service.claim(service.queue()), service.claim(service.queue())
    service.say(running, ("log", {"level": "info", "message": "so it goes"}), ("phase", {"phase": "pruning"}))
    service.progress(running, "pruning", step=3, percent=12.5, loss=2.5)
    service.fail(failed, code="nan_loss", message="NaN", hint="", retryable=False)
    return [queued, cancelled, running.job_id, failed.job_id, service.published({"model.safetensors": b"weights"})]


def test_no_route_fails_or_answers_otherwise_than_the_document_says(
    service: Service, jobs: list[str], tmp_path: Path
) -> None:
    headers = {"Authorization": f"Bearer {service.api_key}"}
    uploaded = httpx2.post(f"{service.url}/v1/files?name=a.txt", content=b"text " * 200, headers=headers)
    config = tmp_path / "schemathesis.toml"
    ids = {"jobs": jobs, "files": [uploaded.json()["id"]]}
    # An answer that is waited for comes after all others.
    config.write_text(CONFIG.format(**ids, timeout=LONGEST_WAIT + 10).replace("'", '"'))
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"),
        f"{service.url}/v1/openapi.json",
        *("--header", f"Authorization: Bearer {service.api_key}"),
        *("--max-time", str(SECONDS), "--seed", "1"),
        # What is refused, and why, goes beyond what a schema can say.
        *("--exclude-checks", "positive_data_acceptance,negative_data_rejection"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
