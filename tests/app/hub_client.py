"""Everything that people do with huggingface_hub, of any generation, done once; what came of it goes out as JSON.

Run by the interpreter, and with the packages, of one generation: it imports nothing of ours. The environment has
HF_ENDPOINT, HF_TOKEN and HF_HOME; the arguments are the private model, the public one, and a folder to work in.
"""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub
from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, snapshot_download
from huggingface_hub.utils import disable_progress_bars

PRIVATE, PUBLIC, FOLDER = sys.argv[1], sys.argv[2], Path(sys.argv[3])
CUT_AFTER = 3 * 2**20
LARGE = "weights.gguf"

api = HfApi()


def hashes(folder: str | Path) -> dict[str, str]:
    files = (path for path in Path(folder).rglob("*") if path.is_file() and ".cache" not in path.parts)
    return {path.relative_to(folder).as_posix(): digest(path) for path in files}


def digest(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


class Cutter:
    """A way to the service that breaks the first long answer off in its middle."""

    def __init__(self) -> None:
        there = urlsplit(os.environ["HF_ENDPOINT"])
        self.there = (there.hostname, there.port)
        self.cuts = 1
        self.door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.door.getsockname()[1]}{there.path}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            client, _ = self.door.accept()
            server = socket.create_connection(self.there)
            threading.Thread(target=self.carry, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self.carry, args=(server, client, CUT_AFTER), daemon=True).start()

    def carry(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        carried = 0
        try:
            while data := source.recv(65536):
                target.sendall(data)
                carried += len(data)
                if limit and carried > limit and self.cuts:
                    self.cuts -= 1
                    break
        except OSError:
            pass  # the other direction was closed
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def cut() -> Any:
    """A download that is cut; where a generation gives up on that, it is asked again, as a person would."""
    cutter = Cutter()
    cache = FOLDER / "cut"
    calls = 0
    while True:
        calls += 1
        try:
            path = hf_hub_download(PRIVATE, LARGE, endpoint=cutter.url, cache_dir=cache)
        except Exception:
            if calls == 3:
                raise
        else:
            return {"sha256": digest(path), "cuts_left": cutter.cuts, "calls": calls}


def command(*arguments: str, **environment: str) -> Any:
    """`hf …`, as on a command line."""
    done = subprocess.run(
        [sys.executable, *(["-S"] if sys.flags.no_site else []), "-m", "huggingface_hub.cli.hf", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )
    return {"code": done.returncode, "said": done.stdout + done.stderr}


def metadata() -> Any:
    found = api.get_safetensors_metadata(PRIVATE)
    return {"parameters": dict(found.parameter_count), "files": sorted(found.files_metadata)}


def read() -> Any:
    with HfFileSystem().open(f"{PRIVATE}/{LARGE}", "rb", block_size=2**16) as file:
        file.seek(1_000_000)
        return file.read(20).hex()


def refs() -> Any:
    found = api.list_repo_refs(PRIVATE)
    return {ref.name: ref.target_commit for ref in (*found.branches, *found.tags)}


def info() -> Any:
    found = api.model_info(PRIVATE, files_metadata=True)
    sizes = {each.rfilename: [each.size, each.lfs and each.lfs.sha256] for each in found.siblings or ()}
    total = found.safetensors and found.safetensors.total
    return {"sha": found.sha, "private": found.private, "files": sizes, "total": total}


CASES: dict[str, Callable[[], Any]] = {
    "version": lambda: huggingface_hub.__version__,
    "whoami": lambda: api.whoami()["name"],
    "auth_check": lambda: api.auth_check(PRIVATE),
    "info": info,
    "info_of_variant": lambda: api.model_info(PRIVATE, revision="w8a8").sha,
    "files": lambda: sorted(api.list_repo_files(PRIVATE)),
    "tree": lambda: sorted(entry.path for entry in api.list_repo_tree(PRIVATE, recursive=False)),
    "subtree": lambda: [entry.path for entry in api.list_repo_tree(PRIVATE, "pictures")],
    "paths": lambda: [entry.path for entry in api.get_paths_info(PRIVATE, ["pictures", "config.json", "no"])],
    "refs": refs,
    "commits": lambda: [commit.commit_id for commit in api.list_repo_commits(PRIVATE)],
    "models": lambda: sorted(model.id for model in api.list_models(author=PRIVATE.split("/")[0])),
    "exists": lambda: [api.repo_exists(PRIVATE), api.file_exists(PRIVATE, "no"), api.revision_exists(PRIVATE, "no")],
    "snapshot": lambda: hashes(snapshot_download(PRIVATE)),
    "one_file": lambda: digest(hf_hub_download(PRIVATE, "config.json", revision="w8a8")),
    "ls": lambda: sorted(HfFileSystem().ls(PRIVATE, detail=False)),
    "read": read,
    "metadata": metadata,
    "cut": cut,
    "command": lambda: command("download", PRIVATE, "--local-dir", str(FOLDER / "local")),
    "local": lambda: hashes(FOLDER / "local"),
    "command_without_key": lambda: command("download", PUBLIC, "--local-dir", str(FOLDER / "public"), HF_TOKEN=""),
    "public": lambda: hashes(FOLDER / "public"),
    "public_without_key": lambda: api.model_info(PUBLIC, token=False).id,
    "wrong_key": lambda: api.model_info(PRIVATE, token="hf_wrong"),
    "private_without_key": lambda: snapshot_download(PRIVATE, token=False, cache_dir=FOLDER / "none"),
    "missing_repository": lambda: snapshot_download("nobody/nothing"),
    "missing_revision": lambda: snapshot_download(PRIVATE, revision="no"),
    "missing_file": lambda: hf_hub_download(PRIVATE, "no.txt"),
    "missing_file_again": lambda: hf_hub_download(PRIVATE, "no.txt", local_files_only=True),
    "missing_folder": lambda: list(api.list_repo_tree(PRIVATE, "no")),
    "upload": lambda: api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=PRIVATE),
}


def result(case: Callable[[], Any]) -> Any:
    try:
        return case()
    except Exception as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        answer = getattr(error, "response", None)
        return {"error": kinds, "says": str(error), "status": answer is not None and answer.status_code}


if __name__ == "__main__":
    disable_progress_bars()
    sys.stdout.write(json.dumps({name: result(case) for name, case in CASES.items()}))
