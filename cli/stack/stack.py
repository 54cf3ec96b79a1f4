"""All of Prunery on one machine: the three servers, and our own processes, the very same as in production."""

import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from cli.stack import environment, ports, programs
from cli.stack.failures import PartFailed
from cli.stack.process import Process
from cli.stack.servers import Servers, port_was_taken

_READY_SECONDS = 120.0
_MIGRATION_SECONDS = 300.0
_WORKER_GRACE_SECONDS = 20.0
_SERVICE_GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.2
_PORT_TRIES = 8
# Who tries webhooks on one machine has the receiver on it too.
_WEBHOOKS_TO_HERE = {
    "PRUNERY_WEBHOOK_HTTP": "true",
    "PRUNERY_WEBHOOK_PORTS": "[]",
    "PRUNERY_WEBHOOK_NETWORKS": '["127.0.0.0/8", "::1/128"]',
}


class Stack:
    """A complete Prunery, for as long as the context is open.

    The thread that enters must outlive the context: every process ends with it.
    """

    def __init__(
        self,
        data: Path,
        *,
        host: str = ports.LOOPBACK,
        port: int = 8000,
        workers: int = 1,
        settings: dict[str, str] | None = None,
        announce: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Describe it; nothing starts yet.

        Args:
            port: the API's, or the next free one.
            settings: further `PRUNERY_…` variables for our own processes.
            announce: told what happens, in a line each.
        """
        self.servers = Servers(data)
        self.port = port
        self._host = host
        self._workers = tuple(f"worker-{number}" for number in range(1, workers + 1))
        self._extra_settings = dict(settings or {})
        self._announce = announce
        self._services: dict[str, Process] = {}
        self._modules: dict[str, Sequence[str]] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where clients on this machine reach the API."""
        host = {"0.0.0.0": ports.LOOPBACK, "::": "::1"}.get(self._host, self._host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def api_key(self) -> str:
        return self.servers.credentials.api_key

    @property
    def settings(self) -> dict[str, str]:
        """The `PRUNERY_…` variables of our own processes."""
        return self.servers.settings() | _WEBHOOKS_TO_HERE | self._extra_settings

    @property
    def workers(self) -> tuple[str, ...]:
        """The names of the workers among the processes."""
        return self._workers

    @property
    def processes(self) -> dict[str, Process]:
        """Every part by name: postgres, valkey, seaweed, api, relay, webhooks, worker-1, …"""
        return self.servers.processes | self._services

    def start(self) -> None:
        """Start everything and return when the API and every worker are ready.

        Raises:
            StackError: something is missing or did not come up. Nothing is left running then.
        """
        programs.require_services()
        wanted, self.port = self.port, ports.next_free(self.port, self._host)
        if self.port != wanted:
            self._announce(f"Port {wanted} is taken; the API will listen on {self.port}")
        began = time.monotonic()
        self._announce("Starting PostgreSQL, Valkey and SeaweedFS")
        self.servers.start()
        try:
            self.servers.folder.write_environment(self.settings)
            self._migrate()
            self._announce("Starting the API, the relay, the sender of webhooks and the workers")
            for worker in self._workers:
                self.start_worker(worker)
            self._spawn("relay", ["worker.relay"])
            self._spawn("webhooks", ["worker.webhooks"])
            self._start_api()
            for worker in self._workers:
                self.wait_for_worker(worker)
            self.servers.folder.write_connection(self.url, self.api_key)
            self._announce(f"Ready after {time.monotonic() - began:.1f} s")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything: first who works, then who serves, then the servers that they need until their end."""
        self.servers.folder.connection.unlink(missing_ok=True)
        workers = [process for part, process in self._services.items() if part in self._workers]
        services = [process for part, process in self._services.items() if part not in self._workers]
        for group, grace in ((workers, _WORKER_GRACE_SECONDS), (services, _SERVICE_GRACE_SECONDS)):
            for process in group:
                process.ask_to_stop()
            for process in group:
                process.stop(grace)
        self._services.clear()
        self.servers.stop()

    def start_worker(self, part: str) -> None:
        """Start one of the workers, also again after it ended; `wait_for_worker` waits for it."""
        options = ("-P", "solo", "-Q", "jobs", "--without-mingle", "--without-gossip", "-l", "INFO")
        self._spawn(part, ["celery", "-q", "-A", "worker.main:celery", "worker", *options, "-n", f"{part}@%h"])

    def wait_for_worker(self, part: str) -> None:
        process = self._services[part]
        process.wait_until(lambda: " ready." in process.log_since_start(), seconds=_READY_SECONDS)

    def restart(self, part: str) -> None:
        """Start a part again, on its port and with its data; whatever of it still runs is killed first."""
        if part in self.servers.processes:
            self.servers.restart(part)
        else:
            self._services[part].kill()
            self._spawn(part, self._modules[part])

    def wait_for(self, part: str) -> None:
        """Return when the part is ready; raise PartFailed if it ends, or takes too long."""
        if part in self.servers.processes:
            self.servers.wait_for(part)
        elif part in self._workers:
            self.wait_for_worker(part)
        elif part == "api":
            self._services[part].wait_until(self._api_ready, seconds=_READY_SECONDS)

    def failure(self) -> PartFailed | None:
        """The first part that has ended, if any has; servers before those that depend on them."""
        return next((process.failure() for process in self.processes.values() if not process.running), None)

    def watch(self) -> None:
        """Return never: raise PartFailed when a part ends."""
        while (failure := self.failure()) is None:
            time.sleep(_POLL_SECONDS)
        raise failure

    def _migrate(self) -> None:
        process = self._spawn("migrations", ["migrations"])
        try:
            process.wait_until(lambda: process.returncode == 0, seconds=_MIGRATION_SECONDS)
        finally:
            process.kill()
            del self._services["migrations"]

    def _start_api(self) -> None:
        for attempt in range(1, _PORT_TRIES + 1):
            options = ("--host", self._host, "--port", str(self.port), "--timeout-graceful-shutdown", "5")
            process = self._spawn("api", ["uvicorn", "app.main:create_app", "--factory", *options])
            try:
                process.wait_until(self._api_ready, seconds=_READY_SECONDS)
                return
            except PartFailed as failure:
                if process.running or not port_was_taken(failure) or attempt == _PORT_TRIES:
                    raise
                taken, self.port = self.port, ports.next_free(self.port + 1, self._host)
                self._announce(f"Port {taken} was just taken; trying {self.port}")

    def _api_ready(self) -> bool:
        """Whether it is ready, and ours: another Prunery on this port would not know our key."""
        try:
            with httpx2.Client(base_url=self.url, trust_env=False, timeout=5) as client:
                ready = client.get("/readyz").status_code == 200
                key = {"Authorization": f"Bearer {self.api_key}"}
                return ready and client.get("/v1/methods", headers=key).status_code == 200
        except httpx2.TransportError:
            return False

    def _spawn(self, part: str, module: Sequence[str]) -> Process:
        folder = self.servers.folder
        process = Process(
            part,
            [sys.executable, "-m", *module],
            directory=folder.root,
            environment=environment.for_service(self.settings),
            log=folder.logs / f"{part}.log",
            # Without us the servers they need are ending too, so there is nothing to wait for.
            death_signal=signal.SIGKILL,
            inherit=[folder.parts_lock],
        )
        self._services[part] = process
        self._modules[part] = module
        return process
