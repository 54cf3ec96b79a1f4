"""What a command leaves behind when it is told to end."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ended_tidily() -> Iterator[None]:
    """A polite end from outside runs the way of every other exit, so that what was started here is stopped."""
    signals = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, frame: sys.exit(128 + number)) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
