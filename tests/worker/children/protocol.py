"""The engine's side of the protocol, for programs that compress nothing."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from worker.process import die_with_parent


class Child:
    """What the supervisor hands to an engine, and the ways to answer. The job's metadata says what a test wants."""

    def __init__(self) -> None:
        die_with_parent()
        parser = argparse.ArgumentParser()
        parser.add_argument("--spec", type=Path, required=True)
        parser.add_argument("--out", type=Path, required=True)
        parser.add_argument("--checkpoints", type=Path)
        parser.add_argument("--events-fd", type=int, required=True)
        options = parser.parse_args()
        self.spec: dict[str, Any] = json.loads(options.spec.read_text())
        self.metadata: dict[str, str] = self.spec["metadata"]
        self.out: Path = options.out
        self.checkpoints: Path = options.checkpoints
        self.events_fd: int = options.events_fd
        if "started" in self.metadata:
            with open(self.metadata["started"], "a") as file:
                file.write(f"{os.getpid()}\n")

    def say(self, type: str, **data: Any) -> None:
        os.write(self.events_fd, json.dumps({"type": type, **data}).encode() + b"\n")

    def leave_result(self, files: dict[str, bytes], summary: dict[str, Any]) -> None:
        for name, content in files.items():
            path = self.out / "model" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        (self.out / "result.json").write_text(json.dumps({"summary": summary, "model_dir": "model"}))
