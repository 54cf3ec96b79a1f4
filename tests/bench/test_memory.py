"""Memory of real processes that take a known amount."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.memory import MB, Peak, maps, of_tree, proportional, resident, resident_peak

TAKEN = 60 * MB
# Takes some memory, says so, and ends when its input does.
TAKES = "import sys; taken = bytearray(60_000_000); print('taken', flush=True); sys.stdin.read()"
# Starts the above below itself, without taking anything.
STARTS = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {TAKES!r}], stdin=sys.stdin)"


@contextmanager
def running(program: str) -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"taken\n"
        yield process.pid
        process.communicate()


def test_what_a_process_takes_is_counted_while_it_lives() -> None:
    with running(TAKES) as pid:
        assert TAKEN <= proportional(pid) <= resident(pid) <= resident_peak(pid) < 2 * TAKEN
    assert proportional(pid) == resident(pid) == 0


def test_a_tree_counts_what_lies_below_and_a_peak_remembers_it() -> None:
    with running(STARTS) as pid:
        assert resident(pid) < TAKEN
        assert TAKEN <= of_tree(pid) < 2 * TAKEN
        with Peak(pid, every_seconds=0.05) as peak:
            pass
    assert of_tree(pid) == 0
    assert TAKEN <= peak.bytes < 2 * TAKEN


def test_memory_that_a_child_shares_with_its_parent_counts_once() -> None:
    forks = "import os, sys; taken = bytearray(60_000_000); child = os.fork(); "
    forks += "print('taken', flush=True) if child else None; sys.stdin.read(); child and os.wait()"
    with running(forks) as pid:
        assert TAKEN <= of_tree(pid) < 1.6 * TAKEN


def test_mapped_libraries_are_counted_by_name() -> None:
    assert maps(os.getpid(), "/no such library") == 0
    with running(f"import ctypes; {TAKES}") as pid:
        assert maps(pid, "_ctypes") == 1
        assert maps(pid, "torch") == 0
