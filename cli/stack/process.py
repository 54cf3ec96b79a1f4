"""One process of the stack: started with a log of its own, ended with everything it started."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from cli.stack.failures import PartFailed, describe_end
from cli.stack.family import descendants, lives
from cli.stack.privileges import Identity, launch_command

_TAIL_LINES = 20
_TAIL_BYTES = 16_384
_POLL_SECONDS = 0.05
_DEATH_SECONDS = 10.0
_LOG_LIMIT_BYTES = 16 * 2**20


class Process:
    """A running part. It dies with the thread that started it, even if that is killed without warning."""

    def __init__(
        self,
        part: str,
        command: Sequence[str],
        *,
        directory: Path,
        environment: Mapping[str, str],
        log: Path,
        stop_signal: signal.Signals = signal.SIGTERM,
        death_signal: signal.Signals | None = None,
        identity: Identity | None = None,
        inherit: Iterable[int] = (),
    ) -> None:
        """Start it.

        Args:
            stop_signal: what asks it to end.
            death_signal: what it gets when we die; `stop_signal` if not given.
            inherit: file descriptors that it keeps open for as long as it lives.
        """
        self.part = part
        self.log = log
        self._stop_signal = stop_signal
        self._asked = False
        self._family: dict[int, str] = {}
        _rotate(log)
        self._log_start = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                launch_command(command, directory, identity=identity, death_signal=death_signal or stop_signal),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A Ctrl-C in the terminal reaches us alone: we end the parts in their order.
                start_new_session=True,
                pass_fds=tuple(inherit),
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative if a signal ended it."""
        return self._popen.poll()

    @property
    def running(self) -> bool:
        return self.returncode is None

    def log_since_start(self) -> str:
        with self.log.open("rb") as stream:
            stream.seek(self._log_start)
            return stream.read().decode(errors="replace")

    def log_tail(self) -> str:
        """The last lines that this process, not an earlier one, wrote to its log."""
        return last_lines(self.log, since=self._log_start)

    def failure(self, what: str | None = None) -> PartFailed:
        """The error that tells how this part ended, or what else is wrong with it."""
        if what is None:
            what = "still runs" if self.returncode is None else describe_end(self.returncode)
        return PartFailed(self.part, what, log=self.log, log_tail=self.log_tail())

    def wait_until(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Return when `ready` says so; raise PartFailed if the process ends first or takes longer."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running:
                raise self.failure()
            if time.monotonic() > deadline:
                raise self.failure(f"was not ready after {seconds:g} s")
            time.sleep(_POLL_SECONDS)

    def ask_to_stop(self) -> None:
        """Tell it to end, once, and return: a second signal would mean something else to some."""
        if self.running and not self._asked:
            self._asked = True
            self._remember_family()
            self._popen.send_signal(self._stop_signal)

    def stop(self, grace_seconds: float) -> None:
        """Ask it to end, insist after the grace, and end what it left behind."""
        if self.running:
            self.ask_to_stop()
            try:
                self._popen.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        self._end_family()

    def kill(self) -> None:
        """End it, and everything it started, without warning."""
        if self.running:
            self._remember_family()
            self._popen.kill()
            self._popen.wait()
        self._end_family()

    def suspend(self) -> None:
        """Have it and everything it started stand still, as a machine does that swaps or is moved."""
        self._signal_all(signal.SIGSTOP)

    def go_on(self) -> None:
        """End the standstill."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in (self.pid, *descendants(self.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _remember_family(self) -> None:
        self._family.update(descendants(self.pid))

    def _end_family(self) -> None:
        deadline = time.monotonic() + _DEATH_SECONDS
        # Whoever starts the part again must find its files and ports left, so this returns when all of them are gone.
        while (left := [pid for pid, born in self._family.items() if lives(pid, born)]) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_POLL_SECONDS)
        self._family.clear()


def last_lines(log: Path, since: int = 0) -> str:
    """The end of a log, reading nothing before byte `since`."""
    with log.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(since, size - _TAIL_BYTES))
        lines = stream.read().decode(errors="replace").splitlines()
    return "\n".join(lines[-_TAIL_LINES:])


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.1"))
