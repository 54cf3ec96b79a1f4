"""What a worker would have published: files by their content, or made up."""

import hashlib
from collections.abc import Mapping

from jobs.git_names import pointer_oid
from jobs.revisions import MAIN, NewFile
from worker.facts import Facts
from worker.revisions import NewRevision


def file(path: str, size: int = 1, sha256: str = "ab" * 32) -> NewFile:
    return NewFile(path, size, sha256, pointer_oid(sha256, size))


def of(*files: NewFile, branch: str = MAIN) -> NewRevision:
    return NewRevision(branch, files, Facts({}, None, None))


def of_contents(contents: Mapping[str, bytes]) -> NewRevision:
    return of(*(file(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in contents.items()))
