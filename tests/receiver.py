"""A receiver of webhooks as a process of its own, and a test's view of it."""

import json
import ssl
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Receiver:
    """Answers every request with 204, or as told, and remembers it. A context manager."""

    def __init__(self, folder: Path, *, host: str = "127.0.0.1", certificate: Path | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log, self._answer = folder / "heard", folder / "answer"
        self._log.touch()
        command = [
            sys.executable,
            "-m",
            "tests.receiver",
            host,
            str(folder),
            *([str(certificate)] if certificate else []),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.url = f"{'https' if certificate else 'http'}://{host}:{self.port}/hook?a=b"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def answer(self, status: int = 204, body: str = "", *, seconds: float = 0.0, **headers: str) -> None:
        """What to answer from now on; the last byte comes only after `seconds`."""
        told = {"status": status, "body": body, "seconds": seconds, "headers": headers}
        draft = self._answer.with_suffix(".new")
        draft.write_text(json.dumps(told))
        draft.replace(self._answer)

    @property
    def heard(self) -> list[dict[str, Any]]:
        """The requests so far: `path`, `headers` in lower case, `body`."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def wait_for(self, count: int, seconds: float = 60.0) -> list[dict[str, Any]]:
        """The requests, once there are so many."""
        end = time.monotonic() + seconds
        while len(self.heard) < count:
            assert time.monotonic() < end, f"heard {len(self.heard)} of {count}"
            time.sleep(0.05)
        return self.heard


class _Handler(BaseHTTPRequestHandler):
    folder: Path

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        heard = {"path": self.path, "headers": {name.lower(): value for name, value in self.headers.items()}}
        with (self.folder / "heard").open("a") as log:
            log.write(json.dumps({**heard, "body": body}) + "\n")
        told = self.folder / "answer"
        answer = json.loads(told.read_text()) if told.exists() else {"status": 204}
        content = answer.get("body", "").encode()
        self.send_response(answer["status"])
        for name, value in answer.get("headers", {}).items():
            self.send_header(name.replace("_", "-"), value)
        if answer["status"] != 204:
            self.send_header("Content-Length", str(len(content) + 1))
        self.end_headers()
        if answer["status"] != 204:
            self.wfile.write(content)
            time.sleep(answer["seconds"])
            self.wfile.write(b"\n")

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    host, folder, *certificate = sys.argv[1:]
    _Handler.folder = Path(folder)
    server = ThreadingHTTPServer((host, 0), _Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate[0])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
