"""PostgreSQL, from its own binaries."""

import os
import shutil
import signal
import subprocess

import psycopg

from cli.stack import environment, privileges, programs
from cli.stack.credentials import Credentials
from cli.stack.failures import FolderUnusable, PartFailed, describe_end
from cli.stack.folder import DataFolder
from cli.stack.ports import LOOPBACK
from cli.stack.privileges import Identity
from cli.stack.process import Process, last_lines

USER = "prunery"
DATABASE = "prunery"


class Postgres:
    """A cluster in one folder, reached over loopback with a password."""

    part = "postgres"
    num_ports = 1

    def __init__(self, data: DataFolder, credentials: Credentials) -> None:
        self._data = data
        self._folder = data.postgres
        self._cluster = data.postgres / "cluster"
        self._password = credentials.postgres_password
        self._log = data.logs / "postgres.log"
        self._identity: Identity | None = None
        self.process: Process | None = None
        self.port = 0

    def url(self, database: str = DATABASE) -> str:
        return f"postgresql+psycopg://{USER}:{self._password}@{LOOPBACK}:{self.port}/{database}"

    def prepare(self) -> None:
        """Create the cluster, if this is the folder's first start."""
        self._identity = self._own_folder()
        # The folder's lock says that no server runs here, so whatever this file says is out of date; its number may
        # by now belong to another process, which would keep PostgreSQL from starting.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        if not self._cluster.exists():
            self._initialise()

    def start(self, ports: tuple[int, ...]) -> Process:
        (self.port,) = ports
        options = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
        }
        self.process = Process(
            self.part,
            [
                str(programs.postgres_program("postgres")),
                *("-D", str(self._cluster)),
                *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
            ],
            directory=self._cluster,
            environment=environment.for_server(),
            log=self._log,
            # INT ends the clients' sessions and then the server, cleanly; TERM would wait for the clients.
            stop_signal=signal.SIGINT,
            identity=self._identity,
            inherit=[self._data.parts_lock],
        )
        return self.process

    def ready(self) -> bool:
        """Whether it answers; our database is created on the way."""
        try:
            with psycopg.connect(
                self._dsn("postgres"), autocommit=True, connect_timeout=2, sslmode="disable"
            ) as connection:
                found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
                if found is None:
                    connection.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg.OperationalError:
            return False
        return True

    def _dsn(self, database: str) -> str:
        return self.url(database).replace("+psycopg", "", 1)

    def _own_folder(self) -> Identity | None:
        """Make the folder and give it to whom the server runs as."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        identity = privileges.unprivileged()
        owner = self._folder.stat().st_uid
        if identity is None:
            if owner != os.geteuid():
                raise FolderUnusable(
                    f"{self._folder} belongs to user {owner}, and you are user {os.geteuid()}.",
                    hint="Start the stack as the user who started it first, or choose another folder with --data.",
                )
            return None
        if owner != identity.uid:
            privileges.give(self._folder, identity)
        initdb = str(programs.postgres_program("initdb"))
        return privileges.able_to_run(identity, [initdb, "--show", "-D", str(self._folder)], self._folder)

    def _initialise(self) -> None:
        """Create the cluster beside its place and move it there: half a cluster is never taken for a whole one."""
        draft, password_file = self._folder / "draft", self._folder / "password"
        shutil.rmtree(draft, ignore_errors=True)
        password_file.unlink(missing_ok=True)
        password_file.touch(mode=0o600)
        password_file.write_text(self._password)
        if self._identity is not None:
            privileges.give(password_file, self._identity)
        command = [
            str(programs.postgres_program("initdb")),
            *("-D", str(draft), "-U", USER, "-A", "scram-sha-256", "--pwfile", str(password_file)),
            *("-E", "UTF8", "--no-locale"),
        ]
        try:
            with self._log.open("ab") as output:
                done = subprocess.run(
                    privileges.launch_command(command, self._folder, identity=self._identity),
                    env=environment.for_server(),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    check=False,
                )
        finally:
            password_file.unlink()
        if done.returncode != 0:
            what = describe_end(done.returncode)
            raise PartFailed("initdb", what, log=self._log, log_tail=last_lines(self._log))
        draft.rename(self._cluster)
