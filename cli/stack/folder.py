"""The one folder under which a stack keeps everything, and the locks that say who uses it."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from cli.stack.credentials import Credentials, write_private
from cli.stack.failures import FolderInUse, FolderUnusable

_ENDING_SECONDS = 60.0


class DataFolder:
    """Paths below the folder, and its locks while it is open."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.logs = self.root / "logs"
        self.postgres = self.root / "postgres"
        self.valkey = self.root / "valkey"
        self.seaweed = self.root / "seaweed"
        self.work = self.root / "work"
        self.connection = self.root / "connection.json"
        self._ports = self.root / "ports.json"
        self._locks: list[int] = []

    def open(self) -> Credentials:
        """Create what is missing, take the folder for this process, and read its secrets.

        Raises:
            FolderInUse: another stack runs here.
            FolderUnusable: it cannot be written.
        """
        try:
            # Entered but not listed by others: PostgreSQL's own user has to pass through.
            self.root.mkdir(mode=0o711, parents=True, exist_ok=True)
            self._lock()
            for folder in (self.logs, self.valkey, self.seaweed, self.work):
                folder.mkdir(mode=0o700, exist_ok=True)
            return Credentials.keep_in(self.root / "secrets.json")
        except OSError as error:
            self.close()
            raise FolderUnusable(
                f"The data folder {self.root} cannot be used: {error.strerror} ({error.filename}).",
                hint="Choose another with --data, or run as the user who owns it.",
            ) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the folder; processes that inherited `parts_lock` still hold it until they end."""
        while self._locks:
            os.close(self._locks.pop())

    @property
    def parts_lock(self) -> int:
        """A descriptor for every part to inherit: the lock is free again once the last of them has ended."""
        return self._locks[1]

    def remembered_ports(self, part: str) -> tuple[int, ...]:
        """The ports this part had last time."""
        return tuple(self._read_ports().get(part, ()))

    def remember_ports(self, part: str, ports: tuple[int, ...]) -> None:
        write_private(self._ports, json.dumps(self._read_ports() | {part: list(ports)}))

    def write_connection(self, url: str, api_key: str) -> None:
        """What a client on this machine needs, for its owner alone."""
        write_private(self.connection, json.dumps({"url": url, "api_key": api_key}, indent=2))

    def write_environment(self, settings: Mapping[str, str]) -> None:
        """What our processes are told, for whoever examines them; it stays when they end."""
        write_private(self.root / "environment.json", json.dumps(dict(settings), indent=2))

    def _read_ports(self) -> dict[str, list[int]]:
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            ports: dict[str, list[int]] = json.loads(self._ports.read_bytes())
            return ports
        return {}

    def _lock(self) -> None:
        owner = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._locks.append(owner)
        if not _try_lock(owner):
            pid = os.pread(owner, 32, 0).decode().strip()
            raise FolderInUse(
                f"A stack already runs on {self.root} (process {pid}).",
                hint="Use that one, stop it, or choose another folder with --data.",
            )
        os.ftruncate(owner, 0)
        os.pwrite(owner, f"{os.getpid()}\n".encode(), 0)
        parts = os.open(self.root / "parts.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._locks.append(parts)
        deadline = time.monotonic() + _ENDING_SECONDS
        while not _try_lock(parts):
            # After a supervisor was killed, its parts end by themselves; until then the files are theirs.
            if time.monotonic() > deadline:
                raise FolderInUse(
                    f"Processes of an earlier stack still use {self.root} after {_ENDING_SECONDS:g} s.",
                    hint=f"`fuser -v {self.root}/parts.lock` names them; end them and try again.",
                )
            time.sleep(0.1)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
