"""What scoring costs: time, as a part of a step of 4,096 tokens, and memory, on one matrix of a large model.

`python -m bench.engine.scoring MODEL` measures in a process of its own and prints JSON.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from bench.figure import Figure
from bench.memory import MB, resident, resident_peak
from jobs.specs import LoraSpec, ScoreSpec
from worker.engine import adapters, base_models, scores
from worker.engine.adapters import Adapted, Factors
from worker.engine.architectures import family
from worker.engine.plan import Plan
from worker.engine.scores.lora_gradient import channel_scores

BATCH, TOKENS = 16, 256
ROUNDS = 3
PERCENT_BAR = 3.0

MATRIX = 4096, 14336
CHUNKS = 64, 1024


def measure(model: Path) -> Iterator[Figure]:
    command = [sys.executable, "-m", "bench.engine.scoring", str(model)]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
    for criterion, percent in found["percent"].items():
        yield Figure(f"engine_scoring_time_{criterion}", percent, "% of a step", PERCENT_BAR)
    small, large = (found["chunk_bytes"][str(rows)] / MB for rows in CHUNKS)
    whole = MATRIX[0] * MATRIX[1] * torch.float32.itemsize / MB
    yield Figure("engine_scoring_memory", small, "MB", whole / 10)
    # Sixteen times the rows; what does not grow with them is small beside it.
    yield Figure("engine_scoring_memory_growth", large / small, "times", 4, at_least=True)


def main() -> None:
    print(json.dumps({"percent": _percent(Path(sys.argv[1])), "chunk_bytes": {rows: _peak(rows) for rows in CHUNKS}}))


def _percent(folder: Path) -> dict[str, float]:
    """CPU time of scoring by criterion, in percent of a step without; medians of steps in turns."""
    base = base_models.open_folder(folder)
    model = base.load(torch.float32)
    fam, plan = family(base.shape), Plan.dense(base.shape)
    adapters.attach(model, fam, LoraSpec(), seed=0)
    model.train()
    ids_BT = torch.randint(base.shape.vocab, (BATCH, TOKENS), generator=torch.Generator().manual_seed(0))
    found: dict[str, list[float]] = {"none": [], "mask_fisher": [], "lora_gradient": []}
    for turn in range(ROUNDS + 1):
        for criterion, seconds in found.items():
            scorer = None
            if criterion != "none":
                spec = ScoreSpec.model_validate({"criterion": criterion})
                scorer = scores.start(model, fam, base.shape, spec, seed=0)
            model.zero_grad()
            began = time.process_time()
            with torch.autocast(model.device.type, torch.bfloat16):
                loss = model(input_ids=ids_BT, labels=ids_BT, use_cache=False).loss
            loss.backward()
            if scorer is not None:
                scorer.take(plan)
                scorer.close()
            if turn > 0:
                seconds.append(time.process_time() - began)
    plain = statistics.median(found.pop("none"))
    return {criterion: 100 * (statistics.median(seconds) / plain - 1) for criterion, seconds in found.items()}


def _peak(rows: int) -> int:
    """Bytes that the scores of one large matrix need beside it, with so many rows at once."""
    outputs, inputs, rank = *MATRIX, 8
    frozen = torch.ones(outputs, inputs, dtype=torch.bfloat16)
    factors = Factors(torch.ones(rank, inputs), torch.ones(outputs, rank))
    adapted = Adapted(lambda part: frozen[part], factors, 2.0)
    channel_scores(adapted, factors, 1, norm="l1", chunk=rows)  # libraries allocate once
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew: proc_pid_clear_refs(5)
    before = resident(os.getpid())
    channel_scores(adapted, factors, 1, norm="l1", chunk=rows)
    return max(resident_peak(os.getpid()) - before, 1)


if __name__ == "__main__":
    main()
