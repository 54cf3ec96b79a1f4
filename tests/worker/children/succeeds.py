"""Goes through some phases and leaves a model; with `wait_for`, not before that file is there."""

import os
import sys
import tempfile
import time
from pathlib import Path

from tests.worker.children.protocol import Child

child = Child()
sys.stdout.write("a library is talkative\n")
sys.stdout.flush()
child.say("phase", phase="pruning")
child.say("progress", step=1, total_steps=2, percent=50.0, loss=float("nan"))
child.say("prune", step=1, sparsity=0.3, kv_groups=2, ffn_channels=128)
child.say("log", level="info", message="half way")
while "wait_for" in child.metadata and not Path(child.metadata["wait_for"]).exists():
    time.sleep(0.05)
child.say("phase", phase="exporting")
child.say("progress", step=2, total_steps=2, percent=100.0, loss=2.5, sparsity=0.3)
size = int(child.metadata.get("bytes", 100_000))
child.leave_result(
    {
        "config.json": b"{}",
        "model.safetensors": bytes(range(256)) * (size // 256),
        "nested/räport.json": b"[1]",
        "again.json": b"{}",
    },
    {
        "environment": sorted(name for name in os.environ if name.startswith("PRUNERY_")),
        "folders": [str(child.out), tempfile.gettempdir()],
        "process_group": os.getpgid(0) == os.getpid() == os.getsid(0),
        "perplexity": float("inf"),
    },
)
