"""Errors below /hf, as the clients of the Hugging Face Hub read them: in headers, for a HEAD has no body."""

from collections.abc import Mapping

from fastapi.responses import JSONResponse

from app.hub_headers import printable

ROOT = "/hf"

CODES = {
    "repository_not_found": "RepoNotFound",
    "revision_not_found": "RevisionNotFound",
    "entry_not_found": "EntryNotFound",
}
# The clients look for these very words, to tell a wrong key from a repository that is not there.
MESSAGES = {"unauthorized": "Invalid credentials in Authorization header"}


def is_theirs(path: str) -> bool:
    """Whether it is a client of the Hub that asks for this path."""
    return path == ROOT or path.startswith(f"{ROOT}/")


def response(status: int, code: str, detail: str, headers: Mapping[str, str]) -> JSONResponse:
    """The answer that makes the clients raise their own error of this kind."""
    message = MESSAGES.get(code, detail)
    named = {"X-Error-Code": CODES[code]} if code in CODES else {}
    return JSONResponse({"error": message}, status, {**headers, **named, "X-Error-Message": printable(message)})
