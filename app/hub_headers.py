"""What the clients of the Hugging Face Hub are told beside the answer itself."""

from starlette.datastructures import MutableHeaders

from app.repositories import Repository
from jobs.registry_tables import RevisionRow

COMMIT = "X-Repo-Commit"
WARNING = "X-HF-Warning"


def add(headers: MutableHeaders, repository: Repository, revision: RevisionRow) -> None:
    """The commit, without which clients take an answer for a broken connection, and what they print of the model.

    A client prints a warning once for each topic, which is what stands before the semicolon.
    """
    headers[COMMIT] = revision.commit
    row = repository.model
    if row.deprecated_at:
        notice = f"{repository.id} is deprecated. {row.deprecation or ''}"
        headers.append(WARNING, printable(f"deprecated {repository.id}; {notice}"))
    if quality := revision.facts.get("quality_line"):
        topic = f"quality {repository.id} {revision.commit}"
        headers.append(WARNING, printable(f"{topic}; {repository.id}: {quality}"))


def printable(text: str) -> str:
    """As much of a text as a header can carry: one line of ASCII."""
    return " ".join(text.replace("→", "->").split()).encode("ascii", "replace").decode()
