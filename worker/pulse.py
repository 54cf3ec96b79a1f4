"""A sign of life for a health check: a file that is touched whenever a process has gone once more round its loop.

`python -m worker.pulse` succeeds if that was lately. Standard library only: the check runs again and again beside the
work, and must not depend on a server that may be away.
"""

import os
import sys
import time
from pathlib import Path

VARIABLE = "PRUNERY_PULSE_FILE"

# Longer than the relay or Celery needs to give up on a server that does not answer.
STALE_SECONDS = 60.0


def beat(file: Path | None) -> None:
    """Touch it, if this process was given one."""
    if file is not None:
        file.touch()


def main() -> None:
    file = Path(os.environ[VARIABLE])
    try:
        age = time.time() - file.stat().st_mtime
    except FileNotFoundError:
        sys.exit(f"{file} is not there: the process has not begun to work")
    if age > STALE_SECONDS:
        sys.exit(f"{file} was last touched {age:.0f} s ago: the process hangs, or waits for the broker")


if __name__ == "__main__":
    main()
