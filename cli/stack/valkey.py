"""Valkey, the broker: a Redis-protocol server from its own binary."""

import redis

from cli.stack import environment, programs
from cli.stack.credentials import Credentials, write_private
from cli.stack.folder import DataFolder
from cli.stack.ports import LOOPBACK
from cli.stack.process import Process


class Valkey:
    """A broker that keeps its messages in an append-only file."""

    part = "valkey"
    num_ports = 1

    def __init__(self, data: DataFolder, credentials: Credentials) -> None:
        self._data = data
        self._folder = data.valkey
        self._password = credentials.valkey_password
        self._log = data.logs / "valkey.log"
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/0"

    def prepare(self) -> None:
        """Nothing to create: the server makes its files itself."""

    def start(self, ports: tuple[int, ...]) -> Process:
        (self.port,) = ports
        options = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory-policy": "noeviction",
            "requirepass": self._password,
        }
        # In a file rather than on the command line, which every user of the machine can read.
        write_private(self._folder / "valkey.conf", "".join(f"{name} {value}\n" for name, value in options.items()))
        return Process(
            self.part,
            [str(programs.valkey_program()), "valkey.conf"],
            # Its files go where it runs, whatever characters that path has.
            directory=self._folder,
            environment=environment.for_server(),
            log=self._log,
            inherit=[self._data.parts_lock],
        )

    def ready(self) -> bool:
        """Whether it answers and has read its file."""
        client = redis.Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2)
        try:
            return bool(client.ping())
        except redis.exceptions.RedisError:
            return False
        finally:
            client.close()
