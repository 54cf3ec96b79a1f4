"""The three servers of others: database, broker and object store, started together and ended together."""

import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from cli.stack import ports, programs
from cli.stack.failures import PartFailed
from cli.stack.folder import DataFolder
from cli.stack.postgres import DATABASE, Postgres
from cli.stack.process import Process
from cli.stack.seaweed import BUCKET, REGION, Seaweed
from cli.stack.valkey import Valkey

_READY_SECONDS = 90.0
_GRACE_SECONDS = 10.0
_PORT_TRIES = 8
_PORT_TAKEN = ("address already in use", "is not available on")


class Server(Protocol):
    """What the three have in common."""

    part: str
    num_ports: int

    def prepare(self) -> None: ...
    def start(self, ports: tuple[int, ...]) -> Process: ...
    def ready(self) -> bool: ...


class Servers:
    """Real PostgreSQL, Valkey and SeaweedFS with their data under one folder, for as long as the context is open.

    The thread that enters must outlive the context: the servers end with it.
    """

    def __init__(self, data: Path) -> None:
        self.folder = DataFolder(data)
        self.processes: dict[str, Process] = {}
        self._servers: dict[str, Server] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start all three and return when each has answered a real request.

        Raises:
            StackError: a program is missing, the folder is in use, or a server did not come up. Nothing is left then.
        """
        programs.require_servers()
        self.credentials = self.folder.open()
        try:
            self.seaweed = Seaweed(self.folder, self.credentials)
            self.valkey = Valkey(self.folder, self.credentials)
            self.postgres = Postgres(self.folder, self.credentials)
            # The slowest first: it starts while the others are prepared.
            order: tuple[Server, ...] = (self.seaweed, self.valkey, self.postgres)
            self._servers = {server.part: server for server in order}
            for server in order:
                server.prepare()
                self._spawn(server)
            for server in order:
                self._await(server)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End whatever runs, and let go of the folder."""
        for part in ("postgres", "valkey", "seaweed"):
            if process := self.processes.pop(part, None):
                process.stop(_GRACE_SECONDS)
                if part == "seaweed":
                    self.seaweed.clear_sockets()
        self.folder.close()

    def restart(self, part: str) -> None:
        """Start one of the three again with its data, on its ports; whatever of it still runs is killed first."""
        self.processes[part].kill()
        self.processes[part] = self._servers[part].start(self.folder.remembered_ports(part))

    def wait_for(self, part: str) -> None:
        """Return when one of the three answers; raise PartFailed if it does not."""
        self.processes[part].wait_until(self._servers[part].ready, seconds=_READY_SECONDS)

    def settings(self, database: str = DATABASE) -> dict[str, str]:
        """The environment with which our own processes find the three (`PRUNERY_…`)."""
        return {
            "PRUNERY_ENVIRONMENT": "development",
            "PRUNERY_LOG_FORMAT": "text",
            "PRUNERY_DATABASE_URL": self.postgres.url(database),
            "PRUNERY_BROKER_URL": self.valkey.url,
            "PRUNERY_S3_ENDPOINT": self.seaweed.endpoint,
            "PRUNERY_S3_REGION": REGION,
            "PRUNERY_S3_BUCKET": BUCKET,
            "PRUNERY_S3_ACCESS_KEY": self.credentials.s3_access_key,
            "PRUNERY_S3_SECRET_KEY": self.credentials.s3_secret_key,
            "PRUNERY_API_KEY": self.credentials.api_key,
            "PRUNERY_ENCRYPTION_KEYS": json.dumps([*_keys_of_the_user(), self.credentials.encryption_key]),
            "PRUNERY_WORK_DIR": str(self.folder.work),
        }

    def _spawn(self, server: Server, *, remembered: bool = True) -> None:
        preferred = self.folder.remembered_ports(server.part) if remembered else ()
        chosen = ports.free_block(server.num_ports, preferred)
        self.processes[server.part] = server.start(chosen)
        self.folder.remember_ports(server.part, chosen)

    def _await(self, server: Server) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        for attempt in range(1, _PORT_TRIES + 1):
            process = self.processes[server.part]
            try:
                process.wait_until(server.ready, seconds=max(1.0, deadline - time.monotonic()))
                return
            except PartFailed as failure:
                # Somebody took a port between our look and the server's: choose others.
                if process.running or not port_was_taken(failure) or attempt == _PORT_TRIES:
                    raise
            self._spawn(server, remembered=False)


def _keys_of_the_user() -> list[str]:
    """Those that the environment of this command names go before that of the folder."""
    keys: list[str] = json.loads(os.environ.get("PRUNERY_ENCRYPTION_KEYS", "[]"))
    return keys


def port_was_taken(failure: PartFailed) -> bool:
    """Whether a server ended because it could not listen."""
    return any(words in failure.log_tail.lower() for words in _PORT_TAKEN)
