"""A stand-in for the model hub that answers as the hub does, on a port of this machine."""

import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any, Self

SHA = "4e20de362430cd3b72f300e6b0f18e50e7166e08"


class Hub:
    """`files` holds each repository's files by name; those in `gated` can be listed but not read."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        self.failing = False
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, headers, body = hub.answer(self.path)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def do_HEAD(self) -> None:
                status, headers, body = hub.answer(self.path)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if self.failing:
            return 500, {}, b"{}"
        parts = path.partition("?")[0].strip("/").split("/")
        if parts[0] == "api":
            repo, rest = "/".join(parts[2:4]), parts[4:]
            revision = rest[1] if rest[:1] in (["revision"], ["tree"]) else "main"
            listing = self._tree if rest[:1] == ["tree"] else self._listing
            return self._found(repo, revision) or listing(repo)
        repo, revision, name = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
        if refusal := self._found(repo, revision):
            return refusal
        if repo in self.gated:
            return _refused(403, "GatedRepo")
        if name not in self.files[repo]:
            return _refused(404, "EntryNotFound")
        content = self.files[repo][name]
        return 200, {"X-Repo-Commit": SHA, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}, content

    def _found(self, repo: str, revision: str) -> tuple[int, dict[str, str], bytes] | None:
        if repo not in self.files:
            return _refused(404, "RepoNotFound")
        return None if revision in ("main", SHA) else _refused(404, "RevisionNotFound")

    def _tree(self, repo: str) -> tuple[int, dict[str, str], bytes]:
        tree = [
            {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for name, content in self.files[repo].items()
        ]
        return 200, {"Content-Type": "application/json"}, json.dumps(tree).encode()

    def _listing(self, repo: str) -> tuple[int, dict[str, str], bytes]:
        listing: dict[str, Any] = {
            "_id": "1",
            "id": repo,
            "modelId": repo,
            "sha": SHA,
            "private": False,
            "gated": "manual" if repo in self.gated else False,
            "tags": [],
            "siblings": [{"rfilename": name} for name in self.files[repo]],
        }
        return 200, {"Content-Type": "application/json"}, json.dumps(listing).encode()


def _refused(status: int, code: str) -> tuple[int, dict[str, str], bytes]:
    return status, {"X-Error-Code": code, "X-Error-Message": code}, b'{"error": "refused"}'
