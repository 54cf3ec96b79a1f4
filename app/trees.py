"""The files of a revision as folders, with the ids that git would give them."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jobs.registry_tables import RevisionFileRow


@dataclass(frozen=True)
class Folder:
    """A folder; `oid` is what git would call its tree."""

    path: str
    oid: str


Entry = RevisionFileRow | Folder


def entries(files: Iterable[RevisionFileRow], below: str = "", *, recursive: bool = True) -> list[Entry] | None:
    """What lies in a folder, by path; None if there is no such folder. The root is always there."""
    prefix = f"{below}/" if below else ""
    inside = [file for file in files if file.path.startswith(prefix)]
    if not inside and below:
        return None
    found: list[Entry] = list(inside)
    found += [Folder(path, _oid(inside, path)) for path in _folders(inside) if path.startswith(prefix)]
    if not recursive:
        found = [entry for entry in found if "/" not in entry.path.removeprefix(prefix)]
    return sorted(found, key=lambda entry: entry.path)


def entry(files: Sequence[RevisionFileRow], path: str) -> Entry | None:
    """The one file or folder at this path."""
    for file in files:
        if file.path == path:
            return file
    return Folder(path, _oid(files, path)) if path in _folders(files) else None


def _folders(files: Iterable[RevisionFileRow]) -> set[str]:
    parts = (file.path.split("/")[:-1] for file in files)
    return {"/".join(names[: depth + 1]) for names in parts for depth in range(len(names))}


def _oid(files: Iterable[RevisionFileRow], folder: str) -> str:
    """The id of a git tree: the SHA-1 of its members' modes, names and ids, a folder sorted as if it ended in /."""
    members: dict[bytes, bytes] = {}
    inside = [file for file in files if file.path.startswith(f"{folder}/")]
    for file in inside:
        name, _, deeper = file.path.removeprefix(f"{folder}/").partition("/")
        if not deeper:
            members[name.encode()] = b"100644 " + name.encode() + b"\0" + bytes.fromhex(file.git_oid)
        elif (key := f"{name}/".encode()) not in members:
            members[key] = b"40000 " + name.encode() + b"\0" + bytes.fromhex(_oid(inside, f"{folder}/{name}"))
    tree = b"".join(members[key] for key in sorted(members))
    return hashlib.sha1(b"tree %d\0" % len(tree) + tree, usedforsecurity=False).hexdigest()
