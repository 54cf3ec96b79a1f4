"""The audit of what we depend on: what it says when something is found, nothing is, or nobody answers."""

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tests.test_layout import ROOT

WEAKNESS = {
    "id": "PYSEC-2026-1",
    "modified": "2026-01-01T00:00:00Z",
    "details": "made up",
    "affected": [
        {
            "package": {"name": "click", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}],
            "versions": [],
        }
    ],
}


class Database(ThreadingHTTPServer):
    """Answers as OSV does: that nothing is known, or one weakness of one package."""

    weak = ""
    asked: set[str]


class Answers(BaseHTTPRequestHandler):
    server: Database

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
        self.server.asked.add(asked)
        body = json.dumps({"vulns": [WEAKNESS]} if asked == self.server.weak else {}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def database() -> Iterator[Database]:
    with Database(("127.0.0.1", 0), Answers) as server:
        server.asked = set()
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def audit(port: int) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, ROOT / ".ci/audit.py", "--osv-url", f"http://127.0.0.1:{port}/v1/query"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)


def test_every_pinned_package_is_asked_for(database: Database) -> None:
    done = audit(database.server_port)
    pins = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert done.returncode == 0, done.stderr
    assert f"No known weakness in {len(pins)} packages" in done.stdout
    assert {name.replace("_", "-").replace(".", "-") for name in pins} == {
        name.lower().replace("_", "-").replace(".", "-") for name in database.asked
    }


def test_a_known_weakness_fails(database: Database) -> None:
    database.weak = "click"
    done = audit(database.server_port)
    assert done.returncode == 1
    assert "PYSEC-2026-1" in done.stderr
    assert "99.0" in done.stderr


def test_without_a_way_to_the_database_it_says_so_and_lets_the_rest_go_on() -> None:
    done = audit(1)
    assert done.returncode == 0, done.stderr
    assert "DEPENDENCIES NOT AUDITED: offline" in done.stderr
