"""One trace over all processes that a real job goes through."""

import secrets
from pathlib import Path

from cli.stack.stack import Stack
from jobs.states import Status
from tests.collector import Collector
from tests.e2e.test_job_walk import JOBS, Caller
from tests.receiver import Receiver
from tests.worker.desk import wait_until
from tests.worker.test_webhooks import new_secret

PARTS = {"prunery-api", "prunery-relay", "prunery-worker", "prunery-webhooks"}


def test_one_trace_leads_from_the_callers_request_to_the_webhook(
    stack: Stack, collector: Collector, small_model: Path, small_text: Path, tmp_path: Path
) -> None:
    trace_id, caller_id = secrets.token_hex(16), secrets.token_hex(8)
    caller = Caller(stack)
    with Receiver(tmp_path / "receiver") as receiver:
        webhook = {"url": receiver.url, "events": ["compression.job.succeeded"], "secret": new_secret()}
        caller.http.headers["traceparent"] = f"00-{trace_id}-{caller_id}-01"
        job = caller.submit(small_model, small_text, steps=2, webhook=webhook)
        del caller.http.headers["traceparent"]
        caller.wait_for(job, Status.SUCCEEDED)
        (heard,) = receiver.wait_for(1)
    wait_until(lambda: {span.service for span in collector.of(trace_id)} >= PARTS, 60)

    spans = collector.of(trace_id)
    ids = {span.id: span for span in spans}
    by_name = {span.name: span for span in spans}
    posted = by_name[f"POST {JOBS}"]
    assert (posted.service, posted.parent_id) == ("prunery-api", caller_id)
    assert posted.attributes["http.response.status_code"] == 202
    for name in ("send jobs", "attempt", "send webhook"):
        span = by_name[name]
        while span is not posted:  # within the request, where the job was stored
            span = ids[span.parent_id]
    attempt = by_name["attempt"]
    assert (attempt.attributes["prunery.job.id"], attempt.attributes["prunery.job.attempt"]) == (job["id"], 1)
    phases = {span.name.removeprefix("phase ") for span in spans if span.name.startswith("phase ")}
    assert {"preparing", "pruning", "exporting", "evaluating", "uploading"} <= phases
    assert all(ids[span.parent_id] is attempt for span in spans if span.name.startswith("phase "))
    assert ids[by_name["publish"].parent_id] is attempt
    assert sum(span.seconds for span in spans if span.name.startswith("phase ")) <= attempt.seconds
    assert heard["headers"]["traceparent"] == f"00-{trace_id}-{by_name['send webhook'].id}-01"
    caller.http.close()
