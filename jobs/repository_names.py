"""Names of repositories as the clients of the Hugging Face Hub take them: `namespace/name`."""

import re

LONGEST = 96

PATTERN = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")
"""One part of such a name; see `validate_repo_id` of huggingface_hub."""


def is_valid(part: str) -> bool:
    return PATTERN.fullmatch(part) is not None and not part.endswith(".git")


def slug(text: str) -> str:
    """The nearest name to any text; empty if it has no ASCII letter or digit."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:LONGEST].rstrip("-")
