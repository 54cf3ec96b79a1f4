"""Values from elsewhere, in a form that the database takes."""

import math
from typing import Any


def storable(value: Any) -> Any:
    """What Postgres takes as JSON: no NUL, no half of a surrogate pair, no NaN or infinity (null instead)."""
    match value:
        case str():
            return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {storable(key): storable(entry) for key, entry in value.items()}
        case list():
            return [storable(entry) for entry in value]
        case _:
            return value
