"""What git would call the files of a repository, and what we call a state of it."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import PurePosixPath

LARGE_BYTES = 10 * 2**20
LARGE_SUFFIXES = frozenset({".gguf", ".onnx", ".safetensors"})


def is_large(path: str, size: int) -> bool:
    """Whether git would keep only a pointer to it."""
    return size > LARGE_BYTES or PurePosixPath(path).suffix in LARGE_SUFFIXES


def blob_header(size: int) -> bytes:
    """What git hashes before a content."""
    return f"blob {size}\0".encode()


def blob_oid(content: bytes) -> str:
    return hashlib.sha1(blob_header(len(content)) + content, usedforsecurity=False).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    """What git keeps in place of a large file (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md)."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def pointer_oid(sha256: str, size: int) -> str:
    return blob_oid(pointer(sha256, size))


def commit(files: Iterable[tuple[str, int, str]]) -> str:
    """Of path, size and SHA-256 of each file: the same files at the same paths have the same commit."""
    canonical = json.dumps(sorted(files), separators=(",", ":")).encode()
    return hashlib.sha1(canonical, usedforsecurity=False).hexdigest()
