"""The other processes of a job that trains on several devices: one more of this program for each further device."""

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jobs import memory
from worker import process

POLL_SECONDS = 0.5
FOLDER = "companion-{rank}"


def wanted(batch_size: int) -> int:
    """Processes to train with, by the devices that are here.

    One where somebody else (`torchrun`) has decided already.
    """
    import torch

    if "WORLD_SIZE" in os.environ:
        return 1
    return memory.processes(batch_size, max(1, torch.cuda.device_count()))


@contextmanager
def started(command: Sequence[str], out: Path, processes: int, failed: Path) -> Iterator[None]:
    """Run `processes` - 1 companions beside this one, and make this one the first of them.

    Args:
        command: starts this program; it is followed by `--out` and `--events-fd`.
        out: a folder for theirs.
        failed: where the error of a companion is told. It ends this process, which would wait for it in vain.
    """
    if processes == 1:
        yield
        return
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(processes)}
    companions = [_start(command, out / FOLDER.format(rank=rank), rank) for rank in range(1, processes)]
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0"}
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(companions, out, failed, over), daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()
        for companion in companions:
            companion.kill()
            companion.wait()


def _start(command: Sequence[str], out: Path, rank: int) -> subprocess.Popen[bytes]:
    with open(os.devnull, "w") as nobody:  # one process tells for all
        return subprocess.Popen(
            [*command, "--out", str(out), "--events-fd", str(nobody.fileno())],
            pass_fds=(nobody.fileno(),),
            env=os.environ | {"RANK": str(rank), "LOCAL_RANK": str(rank), process.SUPERVISOR: str(os.getpid())},
        )


def _watch(companions: Sequence[subprocess.Popen[bytes]], out: Path, failed: Path, over: threading.Event) -> None:
    while not over.wait(POLL_SECONDS):
        for rank, companion in enumerate(companions, start=1):
            if companion.poll():
                told = out / FOLDER.format(rank=rank) / failed.name
                if told.is_file():
                    shutil.copyfile(told, failed)
                sys.stderr.write(f"Process {rank} of the job ended with exit code {companion.poll()}.\n")
                sys.stderr.flush()
                os._exit(1)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
