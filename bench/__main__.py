"""`python -m bench [MEASUREMENT …]`: all but the longest, the named ones, or with ALL=1 in the environment all.

A bar that is not met is printed and no failure; a measurement that cannot be made is one.
"""

import logging
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import api, bare_clone, demo, exactness, scoring
from bench.engine import measure as engine
from bench.figure import Figure
from bench.hub import measure as hub
from bench.service import chaos, load, malformed, overhead, resume

MEASUREMENTS: dict[str, Callable[[Path], Iterator[Figure]]] = {
    "api": api.measure,
    "exactness": exactness.measure,
    "scoring": scoring.measure,
    "chaos": chaos.measure,
    "load": load.measure,
    "overhead": overhead.measure,
    "malformed": malformed.measure,
    "resume": resume.measure,
    "hub": hub.measure,
    "demo": demo.measure,
    "engine": engine.measure,
    "bare_clone": bare_clone.measure,
}
LONGEST = "bare_clone"


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    names = sys.argv[1:] or [name for name in MEASUREMENTS if name != LONGEST or os.environ.get("ALL") == "1"]
    if unknown := set(names) - set(MEASUREMENTS):
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(MEASUREMENTS)}")
    failed = [name for name in names if not _measure(name)]
    if failed:
        sys.exit(f"could not be measured: {', '.join(failed)}")


def _measure(name: str) -> bool:
    """Print the figures as they come; False if the measurement failed.

    What fell short or failed leaves its folder behind, so that one can find out why.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"prunery-bench-{name}-"))
    print(f"--- {name}, in {folder}", flush=True)
    are_ok = True
    try:
        for figure in MEASUREMENTS[name](folder):
            print(figure, flush=True)
            are_ok = are_ok and figure.is_ok
    except Exception:
        # The others can still be made.
        traceback.print_exc()
        return False
    if are_ok:
        shutil.rmtree(folder)
    return True


if __name__ == "__main__":
    # Leaves every measurement by its way out, on which it ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    main()
