"""Takes steps and keeps a checkpoint after each, as the metadata says, and obeys orders as an engine does.

`steps`   how many there are.
`gate`    a file with the number of the last step that may be taken; it waits for more.
`trained` a file for the numbers of the steps that were taken, over all processes.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

from tests.worker.children.protocol import Child
from worker.engine.checkpoints import Checkpoints
from worker.engine.orders import FILE, Order, Orders
from worker.process import STOPPED


class Anyone:
    """Whose checkpoints these are does not matter here."""

    content: dict[str, Any] = {}  # noqa: RUF012

    def check(self, noted: object) -> None:
        return


child = Child()
orders = Orders(child.out / FILE)
kept = Checkpoints(child.checkpoints, Anyone())  # type: ignore[arg-type]
kept.clear()
newest, _ = kept.newest()
step = 0 if newest is None else newest.job["step"]
last = int(child.metadata["steps"])
gate, trained = Path(child.metadata["gate"]), Path(child.metadata["trained"])
child.say("phase", phase="pruning")
while step < last and orders.current() is not Order.FINISH:
    while step >= int(gate.read_text()) and orders.current() is None:
        time.sleep(0.02)
    if orders.current() is None:
        step += 1
        with trained.open("a") as file:
            file.write(f"{step}\n")
        child.say("progress", step=step, total_steps=last)
        kept.writing.mkdir()
        (kept.writing / "weights").write_bytes(os.urandom(100_000))
        (kept.writing / "frozen").write_bytes(bytes(100_000))  # the same each time
        kept.commit(kept.writing, step=step, run="pruning", job={"step": step}, sparsity=0.1)
    if orders.current() is Order.STOP:
        sys.exit(STOPPED)
child.say("phase", phase="exporting")
child.leave_result({"config.json": str(step).encode()}, {"last_step": step})
