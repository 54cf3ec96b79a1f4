"""A service outside a container: its exact command, with the environment that its container would have, and with
nothing but what its image would hold. Only addresses and paths are moved to where they are free.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tests.docker import compose
from tests.docker.images import Image

READY_SECONDS = 90


class Container:
    """A service as a process, with its health check."""

    def __init__(self, service: str, image: Image, variables: Mapping[str, str], folder: Path, port: int) -> None:
        self.service = service
        self._image = image
        self._folder = folder
        folder.mkdir()
        moved = {
            "HOME": str(folder),
            "HF_HOME": str(folder / "huggingface"),
            "PATH": f"{image.programs}:{os.defpath}",
            "PRUNERY_PULSE_FILE": str(folder / "pulse"),
            "PRUNERY_WORK_DIR": str(folder / "work"),
            "UVICORN_HOST": "127.0.0.1",
            "UVICORN_PORT": str(port),
        }
        environment = compose.environment(service, variables)
        self._environment = environment | {name: moved[name] for name in moved if name in environment or name == "PATH"}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                self._image(compose.command(self.service)),
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def end(self, seconds: float) -> int:
        """Wait for its end; the exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def terminate(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def healthy(self) -> bool:
        done = subprocess.run(
            self._image(compose.healthcheck(self.service)),
            env=self._environment,
            cwd=self._folder,
            capture_output=True,
            check=False,
            timeout=30,
        )
        return done.returncode == 0

    def wait_until_healthy(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self.healthy():
            assert self._process is not None
            assert self._process.poll() is None, f"{self.service} ended:\n{self.log}"
            assert time.monotonic() < deadline, f"{self.service} is not healthy:\n{self.log}"
            time.sleep(0.2)

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()
