"""How fast the Hub's clients are told what there is, among many models, while the S3 server stands still."""

import hashlib
import random
import statistics
import time
from collections.abc import Iterator

import httpx2
from sqlalchemy import insert
from sqlalchemy.orm import Session

from bench.figure import Figure
from bench.service.rows import sessions_of
from cli.stack.stack import Stack
from jobs.registry_tables import ModelRow, RefRow, RevisionFileRow, RevisionRow
from jobs.tables import DEFAULT_PROJECT

REPOSITORIES, FILES_EACH = 500, 20
REQUESTS = 1000
BAR_MS = 20

# By turns: what snapshot_download and from_pretrained ask.
ASKED = (
    ("GET", "/hf/api/models/default/many-{n}/revision/main"),
    ("GET", "/hf/api/models/default/many-{n}/tree/main?recursive=true&expand=false"),
    ("HEAD", "/hf/default/many-{n}/resolve/main/config.json"),
    ("HEAD", "/hf/default/many-{n}/resolve/main/tokenizer.model"),  # not there
)


def measure(stack: Stack) -> Iterator[Figure]:
    with sessions_of(stack) as sessions, sessions.begin() as session:
        _fill(session)
    chance = random.Random(0)
    storage = stack.processes["seaweed"]
    seconds, unexpected = [], 0
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    storage.suspend()  # whoever asks it anything gets no answer
    try:
        with httpx2.Client(base_url=stack.url, headers=headers, timeout=5, trust_env=False) as client:
            for number in range(-len(ASKED), REQUESTS):
                method, path = ASKED[number % len(ASKED)]
                began = time.perf_counter()
                answer = client.request(method, path.format(n=chance.randrange(REPOSITORIES)))
                if number >= 0:  # the first find nothing ready yet
                    seconds.append(time.perf_counter() - began)
                unexpected += answer.status_code != (404 if "tokenizer" in path else 200)
    finally:
        storage.go_on()
    yield Figure("hub_metadata_p95", 1000 * statistics.quantiles(seconds, n=20)[-1], "ms", BAR_MS)
    yield Figure("hub_metadata_unanswered_without_s3", unexpected, "requests", 0)


def _fill(session: Session) -> None:
    models, revisions, refs, files = [], [], [], []
    for number in range(REPOSITORIES):
        id, commit = f"mdl_many_{number}", hashlib.sha1(b"%d" % number, usedforsecurity=False).hexdigest()
        key = {"model_id": id, "commit": commit}
        models.append({"id": id, "project_id": DEFAULT_PROJECT, "name": f"many-{number}"})
        facts = {"config": {"model_type": "llama"}, "quality_line": "perplexity 25.6 -> 28.8"}
        revisions.append({**key, "title": "made smaller", "bytes": 20 * FILES_EACH, "facts": facts})
        refs.append({**key, "name": "main", "kind": "branch"})
        for place in range(FILES_EACH):
            path = f"model-{place:05}.safetensors" if place else "config.json"
            digest = hashlib.sha256(f"{number}/{path}".encode()).hexdigest()
            files.append(
                {**key, "path": path, "bytes": 20, "sha256": digest, "git_oid": digest[:40], "is_large": place > 0}
            )
    for table, rows in ((ModelRow, models), (RevisionRow, revisions), (RevisionFileRow, files), (RefRow, refs)):
        session.execute(insert(table), rows)
