"""Whoever asks for a job within a trace finds it there, also if this service records nothing."""

from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from jobs.tables import JobRow
from tests.app.conftest import job, write_model

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(("sent", "kept"), [(GIVEN, GIVEN), ("00-nonsense", None), (None, None)])
def test_the_callers_trace_is_kept_with_the_job(
    client: TestClient, sessions: sessionmaker[Session], roots: Path, sent: str | None, kept: str | None
) -> None:
    text = roots / "text.jsonl"
    text.write_text('{"text": "' + "word " * 500 + '"}\n')
    asked = job({"source": "local", "path": str(write_model(roots / "model"))}, {"source": "local", "path": str(text)})
    headers = {"traceparent": sent} if sent else {}
    assert client.post("/v1/compression/jobs", json=asked, headers=headers).status_code == 202
    with sessions() as session:
        assert session.scalars(select(JobRow.traceparent)).one() == kept
