"""The lines of a real process: whole, with the ids of what they are about, and without a secret."""

import json
import os
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import pytest

SCRIPT = """
import logging, threading, warnings
from jobs import logs
from jobs.settings import load

settings = load()
logs.install(settings, worker="w1")
logs.install(settings)
log = logging.getLogger("worker.somewhere")
log.info("begins")
with logs.about(job_id="cjob_1", attempt=2):
    log.warning("a line\\nand %s", "another", extra={"seconds": 1.5})
    for target in (log.info, logs.carried(log.info)):
        thread = threading.Thread(target=target, args=("elsewhere",))
        thread.start()
        thread.join()
    with logs.about(attempt=3):
        try:
            raise ValueError("what went wrong")
        except ValueError:
            log.exception("failed")
log.info("ends")
log.debug("a detail")
logging.getLogger("httpx2").info("GET https://example.org/?signature=s3cret")
for name in ("api_key", "s3_secret_key", "database_url", "broker_url"):
    log.info("it is %s", getattr(settings, name).get_secret_value())
log.info("yours is %s", "pk_" + "a1B2-_" * 6)
warnings.warn("soon gone", DeprecationWarning, stacklevel=1)
"""


def run(environment: dict[str, str], **changes: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, **environment, **changes},
        stderr=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    ).stderr


def test_every_line_is_an_object_with_the_ids_of_what_it_is_about(environment: dict[str, str]) -> None:
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in run(environment, PRUNERY_LOG_FORMAT="json").splitlines()
    ]
    assert all({"ts", "level", "logger", "message", "worker"} <= set(line) for line in lines)
    said = {line["message"]: line for line in lines}
    assert not {"job_id", "attempt"} & (set(said["begins"]) | set(said["ends"]))
    line = said["a line\nand another"]
    assert (line["level"], line["logger"], line["worker"]) == ("warning", "worker.somewhere", "w1")
    assert (line["job_id"], line["attempt"], line["seconds"]) == ("cjob_1", 2, 1.5)
    stray, carried = (line for line in lines if line["message"] == "elsewhere")
    assert "job_id" not in stray
    assert carried["job_id"] == "cjob_1"
    assert said["failed"]["attempt"] == 3
    assert said["failed"]["exception"].endswith("ValueError: what went wrong")
    assert any("soon gone" in line["message"] for line in lines)
    assert not {"a detail"} & set(said)


def test_for_people_the_ids_stand_at_the_end(environment: dict[str, str]) -> None:
    text = run(environment, PRUNERY_LOG_FORMAT="text", PRUNERY_LOG_LEVEL="WARNING")
    assert "WARNING worker.somewhere: a line\nand another [seconds=1.5 worker=w1 job_id=cjob_1 attempt=2]" in text
    assert "begins" not in text


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_secret_gets_into_a_line(environment: dict[str, str], form: str) -> None:
    text = run(environment, PRUNERY_LOG_FORMAT=form)
    secrets = [environment[f"PRUNERY_{name}"] for name in ("API_KEY", "S3_SECRET_KEY", "DATABASE_URL", "BROKER_URL")]
    secrets += [str(urlsplit(secret).password) for secret in secrets[2:]]
    assert not [secret for secret in secrets if secret in text]
    assert text.count("it is ***") == 4
    assert "yours is ***" in text
    assert "s3cret" not in text
