"""The way of a job's repositories into object storage: every file under the hash of its content, the manifest last.

Nothing becomes visible by this: a client sees the files once the job's row says so.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from jobs import tracing
from jobs.files import Files
from worker import blobs, contents, facts
from worker.errand import Check, Patience
from worker.leases import Claim
from worker.revisions import NewRevision

Hold = Callable[[Sequence[str]], None]


@tracing.span("publish")
def publish(
    files: Files, folders: Mapping[str, Path], claim: Claim, *, hold: Hold, check: Check, patience_seconds: float
) -> list[NewRevision]:
    """Upload every file of each folder; what is there already is not sent again.

    Args:
        folders: By the branch that each is to be the newest revision of.
        hold: Sees to it that contents, by their hashes, stay where they are; see `worker.holds`.
        check: Called between pieces; what it raises ends the upload and passes through.
        patience_seconds: For how long a storage that does not answer is asked again.
    Raises:
        StorageUnavailable: it did not answer for so long.
    """
    patience = Patience(patience_seconds, check)
    revisions = [
        NewRevision(branch, tuple(contents.read(folder, check)), facts.read(folder))
        for branch, folder in folders.items()
    ]
    # Before the look at what is there: what is found then must not go before the job's row tells of it.
    patience.insist(partial(hold, [file.sha256 for revision in revisions for file in revision.files]))
    for revision in revisions:
        for file in revision.files:
            patience.insist(partial(blobs.store, files, folders[revision.branch] / file.path, file, check))
    manifest = {
        "job_id": claim.job_id,
        "attempt": claim.attempt,
        "revisions": [
            {"branch": revision.branch, "commit": revision.commit, "files": [asdict(file) for file in revision.files]}
            for revision in revisions
        ],
    }
    key = f"jobs/{claim.job_id}/attempts/{claim.attempt}/manifest.json"
    patience.insist(partial(files.put_bytes, key, json.dumps(manifest, indent=1).encode()))
    return revisions
