"""What scoring costs: its share of a training step, and its memory beside the matrices that it scores."""

import cProfile
import ctypes
import os
import pstats
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from bench.figure import Figure
from bench.memory import MB, resident, resident_peak
from jobs.criteria import Criterion, ScoreSpec
from jobs.shapes import read
from jobs.specs import LoraSpec, TrainSpec
from worker.engine import adapters, plan, scores, training_loss
from worker.engine.adapters import Adapted, Factors
from worker.engine.architectures import family
from worker.engine.plan import Plan
from worker.engine.scores import entries
from worker.engine.scores.lora_gradient import channel_scores
from worker.engine.scores.running_average import RunningAverage
from worker.engine.training import uses_bfloat16

SHARE_BAR = 3.0
STEPS = 3
# Two layers of SmolLM2-135M under a vocabulary so small that nearly all of a step is theirs: the hardest case.
LAYER = {"hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "num_key_value_heads": 3}
SEQUENCES, LENGTH = 8, 512

ROWS, COLUMNS, RANK = 4096, 14336, 8
MEMORY_BAR = 0.1  # of the matrix


def measure(folder: Path) -> Iterator[Figure]:
    for criterion in get_args(Criterion):
        yield Figure(f"scoring_share_{criterion}", 100 * share(criterion), "% of a step", SHARE_BAR)
    chunk = entries.rows_at_once(COLUMNS, torch.device("cpu"))
    small, large = (peak(rows, chunk) for rows in (ROWS // 4, ROWS))
    whole = peak(ROWS, ROWS)
    yield Figure("scoring_memory", large / MB, "MB", MEMORY_BAR * ROWS * COLUMNS * 4 / MB)
    yield Figure("scoring_memory_chunk_over_whole", large / whole, "of one pass over the matrix", MEMORY_BAR)
    yield Figure("scoring_memory_four_times_the_rows", (large - small) / MB, "MB more", 4)


def share(criterion: Criterion) -> float:
    """CPU time in the scorer's code over that of the steps that it was part of.

    On one thread: on several the time would count in which they wait for each other, the more the smaller an operation.
    """
    torch.set_num_threads(1)
    config = LlamaConfig(vocab_size=512, num_hidden_layers=2, **LAYER)  # type: ignore[arg-type]
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).train()
    shape = read(config.to_dict())
    adapters.attach(model, family(shape), LoraSpec(), seed=0)
    optimizer = torch.optim.AdamW(parameter for parameter in model.parameters() if parameter.requires_grad)
    scorer = scores.start(model, family(shape), shape, ScoreSpec(criterion=criterion), seed=0)
    average, dense = RunningAverage(ScoreSpec().ema), Plan.dense(shape)
    ids_BT = torch.randint(config.vocab_size, (SEQUENCES, LENGTH))

    def step() -> None:
        loss = training_loss.of(model, ids_BT, ids_BT, ids_BT.numel(), bfloat16=uses_bfloat16(TrainSpec()))
        loss.backward()  # type: ignore[no-untyped-call]
        average.add(plan.restrict(scorer.take(dense), dense, dense))
        optimizer.step()
        optimizer.zero_grad()

    step()  # the first one sets up what the others use
    profile = cProfile.Profile(timer=time.process_time)
    since = time.process_time()
    for _ in range(STEPS):
        profile.runcall(step)
    return _inside(profile, (Path(scores.__file__).parent, Path(plan.__file__))) / (time.process_time() - since)


def _inside(profile: cProfile.Profile, places: tuple[Path, ...]) -> float:
    """Seconds between each entry into the code in these folders and files and the way out of it."""

    def is_inside(file: str) -> bool:
        return any(Path(file).is_relative_to(place) for place in places)

    stats: dict[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]  # undocumented, but long-lived
    inside: list[float] = [
        seconds
        for (file, _, _), (*_, callers) in stats.items()
        if is_inside(file)
        for (caller, _, _), (*_, seconds) in callers.items()
        if not is_inside(caller)
    ]
    return sum(inside)


def peak(rows: int, chunk: int) -> int:
    """Bytes that scoring a matrix needs beside it, `chunk` rows at once."""
    weight_OI = torch.zeros(rows, COLUMNS).normal_()
    adapted = Adapted(weight_OI.__getitem__, Factors(torch.randn(RANK, COLUMNS), torch.randn(rows, RANK)), scale=2.0)
    gradients = Factors(torch.randn(RANK, COLUMNS), torch.randn(rows, RANK))
    return _peak_above(lambda: channel_scores(adapted, gradients, 1, norm="l1", chunk=chunk))


def _peak_above(work: Callable[[], object]) -> int:
    ctypes.CDLL(None).malloc_trim(0)  # or what was freed before would serve unseen
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident(os.getpid())
    work()
    return resident_peak(os.getpid()) - before
