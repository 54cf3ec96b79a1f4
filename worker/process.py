"""The engine's own process: how it is started, heard and ended. Standard library only, as the engine imports it too."""

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

SUPERVISOR = "PRUNERY_SUPERVISOR"
PR_SET_PDEATHSIG = 1
STOPPED = os.EX_TEMPFAIL
"""Exit code of an engine that was ordered to stop and did, with a checkpoint if it kept any."""

READ_BYTES = 65_536
MOST_READS = 64
MAX_LINE_BYTES = {"events": 1_048_576, "output": 4_096}

Source = Literal["events", "output"]


@dataclass(frozen=True)
class Line:
    """One line that the engine wrote: on its events pipe, or on standard output or error."""

    source: Source
    text: str


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends: nobody would listen to it any more."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    supervisor = os.environ.get(SUPERVISOR)
    if supervisor is not None and os.getppid() != int(supervisor):  # it ended before the call above
        os.kill(os.getpid(), signal.SIGKILL)


class EngineProcess:
    """A process in a session of its own, so that it and all it starts can be ended together.

    To be started from the main thread, see `die_with_parent`. Leaving the context kills whatever still runs.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """`command` is followed by `--events-fd N`."""
        events, events_end = os.pipe()
        output, output_end = os.pipe()
        try:
            self._process = subprocess.Popen(
                [*command, "--events-fd", str(events_end)],
                stdin=subprocess.DEVNULL,
                stdout=output_end,
                stderr=output_end,
                pass_fds=(events_end,),
                start_new_session=True,
                env={**environment, SUPERVISOR: str(os.getpid())},
            )
        except BaseException:
            os.close(events)
            os.close(output)
            raise
        finally:
            os.close(events_end)
            os.close(output_end)
        self._selector = selectors.DefaultSelector()
        for descriptor, reader in ((events, _LineReader("events")), (output, _LineReader("output"))):
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ, reader)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        for key in list(self._selector.get_map().values()):
            self._close(key.fd)
        self._selector.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def exited(self) -> bool:
        """Whether the process has ended. It stays a zombie, so that its process group keeps its number until `kill`."""
        if self._process.returncode is not None:
            return True
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def listen(self, seconds: float) -> list[Line]:
        """The lines written since the last call; waits for some, but no longer than `seconds`."""
        if not self._selector.get_map():
            time.sleep(seconds)
            return []
        lines: list[Line] = []
        for key, _ in self._selector.select(seconds):
            reader: _LineReader = key.data
            try:
                data = os.read(key.fd, READ_BYTES)
            except BlockingIOError:
                continue
            lines += reader.feed(data)
            if not data:
                self._close(key.fd)
        return lines

    def wait(self, seconds: float) -> list[Line]:
        """Listen until the process has ended, but no longer than so long."""
        lines: list[Line] = []
        deadline = time.monotonic() + seconds
        while not self.exited() and (left := deadline - time.monotonic()) > 0:
            lines += self.listen(min(left, 0.1))
        return lines

    def stop(self, grace_seconds: float) -> list[Line]:
        """Ask the process to end, wait, then kill it and all that it started; returns its last lines."""
        os.kill(self.pid, signal.SIGTERM)
        lines = self.wait(grace_seconds)
        self.kill()
        return lines + self.drain()

    def drain(self) -> list[Line]:
        """What a killed process left in its pipes, which is not much: they are small."""
        lines: list[Line] = []
        for _ in range(MOST_READS):
            if not self._selector.get_map() or not self._selector.select(0):
                break
            lines += self.listen(0)
        return lines

    def kill(self) -> int:
        """End the whole process group at once; returns the exit code, negative if a signal caused it."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        return self._process.wait()

    def _close(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)
        os.close(descriptor)


class _LineReader:
    """Cuts a stream of bytes into lines. Of an overlong one it keeps the beginning: no writer shall fill the memory."""

    def __init__(self, source: Source) -> None:
        self._source: Source = source
        self._limit = MAX_LINE_BYTES[source]
        self._rest = b""

    def feed(self, data: bytes) -> list[Line]:
        """Complete lines; an empty `data` says that the stream has ended."""
        *complete, rest = (self._rest + data).split(b"\n")
        if not data:
            complete, rest = [*complete, rest], b""
        # Of a progress bar that is drawn over and over, only what a terminal would still show.
        self._rest = rest[rest[:-1].rfind(b"\r") + 1 :][: self._limit]
        shown = (line.rstrip(b"\r").rpartition(b"\r")[2][: self._limit] for line in complete)
        return [Line(self._source, line.decode(errors="replace")) for line in shown if line]
