"""Repositories as the clients of the Hugging Face Hub read them."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from app.repositories import Repository
from app.trees import Entry, Folder
from jobs import git_names
from jobs.registry_tables import RefRow, RevisionFileRow, RevisionRow

Json = dict[str, Any]


def model(repository: Repository, revision: RevisionRow) -> Json:
    """What a list says of a model."""
    row = repository.model
    return {
        "_id": row.id,
        "id": repository.id,
        "modelId": repository.id,
        "author": repository.namespace,
        "sha": revision.commit,
        "createdAt": _time(row.created_at),
        "lastModified": _time(revision.created_at),
        "private": row.visibility == "private",
        "gated": False,
        "disabled": False,
        "downloads": row.downloads,
        "likes": 0,
        "tags": _tags(repository, revision),
        "pipeline_tag": "text-generation",
        "library_name": "transformers",
    }


def info(repository: Repository, revision: RevisionRow, files: Sequence[RevisionFileRow], *, blobs: bool) -> Json:
    """All there is to know of one revision; with `blobs` also the files' sizes and hashes."""
    document = model(repository, revision)
    document["cardData"] = _card(revision)
    document["config"] = revision.facts.get("config", {})
    if parameters := revision.facts.get("parameters"):
        document["safetensors"] = {"parameters": parameters, "total": sum(parameters.values())}
    document["siblings"] = [_sibling(file, blobs=blobs) for file in files]
    document["usedStorage"] = revision.bytes
    return document


def entry(entry: Entry, revision: RevisionRow, *, expand: bool) -> Json:
    """A file or a folder of a tree; with `expand` also when it came to be."""
    if isinstance(entry, Folder):
        document: Json = {"type": "directory", "path": entry.path, "oid": entry.oid, "size": 0}
    else:
        document = {"type": "file", "path": entry.path, "oid": entry.git_oid, "size": entry.bytes}
        if entry.is_large:
            document["lfs"] = {"oid": entry.sha256, **_pointer(entry)}
    if expand:
        document["lastCommit"] = {
            "id": revision.commit,
            "title": revision.title,
            "date": _time(revision.created_at),
        }
    return document


def refs(rows: Iterable[RefRow]) -> Json:
    """Branches, and what else names a revision as tags."""
    document: Json = {"branches": [], "tags": [], "converts": [], "pullRequests": []}
    for row in rows:
        kind, ref = ("branches", "heads") if row.kind == "branch" else ("tags", "tags")
        document[kind].append({"name": row.name, "ref": f"refs/{ref}/{row.name}", "targetCommit": row.commit})
    return document


def commit(repository: Repository, revision: RevisionRow) -> Json:
    return {
        "id": revision.commit,
        "title": revision.title,
        "message": "",
        "authors": [{"user": repository.namespace}],
        "date": _time(revision.created_at),
    }


def _tags(repository: Repository, revision: RevisionRow) -> list[str]:
    tags = ["transformers", "pruned"]
    if revision.base_model:
        tags.append(f"base_model:{revision.base_model}")
    if revision.license:
        tags.append(f"license:{revision.license}")
    if repository.model.deprecated_at:
        tags.append("deprecated")
    return tags


def _card(revision: RevisionRow) -> Json:
    card = {"library_name": "transformers", "base_model": revision.base_model, "license": revision.license}
    return {name: value for name, value in card.items() if value}


def _sibling(file: RevisionFileRow, *, blobs: bool) -> Json:
    document: Json = {"rfilename": file.path}
    if blobs:
        document |= {"size": file.bytes, "blobId": file.git_oid}
        if file.is_large:
            document["lfs"] = {"sha256": file.sha256, **_pointer(file)}
    return document


def _pointer(file: RevisionFileRow) -> Json:
    return {"size": file.bytes, "pointerSize": len(git_names.pointer(file.sha256, file.bytes))}


def _time(at: datetime) -> str:
    """As `%Y-%m-%dT%H:%M:%S.%fZ`, the one form that the clients read."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
