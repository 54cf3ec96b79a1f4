"""How fast models read a prompt and write an answer, measured in turns so that a drifting machine is fair to all."""

import statistics
import time
from dataclasses import dataclass
from functools import partial

import torch
from transformers import PreTrainedModel

from jobs.evaluations import BenchmarkSpec
from worker.engine import peak_memory
from worker.engine.side_by_side import BOTH, Pair, Which

ROUNDS = 3, 30
"""At least and at most so many turns of both models are timed,"""

SECONDS = 3.0
"""and within these bounds for as long as this."""


@dataclass(frozen=True)
class Case:
    """What every turn does."""

    batch_size: int
    prompt_tokens: int
    new_tokens: int


WARM_UP = Case(batch_size=1, prompt_tokens=4, new_tokens=2)


@dataclass(frozen=True)
class Speed:
    """Medians; tokens per second are of the whole batch. Peak memory: see `peak_memory.peak_bytes`."""

    prefill: float
    decode: float
    prefill_seconds: float
    decode_seconds_per_token: float
    peak_bytes: int | None


@dataclass(frozen=True)
class Benchmark:
    """Both models on the same machine, in turns."""

    case: Case
    rounds: int
    device: str
    threads: int
    speeds: dict[Which, Speed]


@torch.inference_mode()
def measure(pair: Pair, asked: BenchmarkSpec) -> Benchmark:
    """Read a prompt of random tokens, then write tokens greedily, one by one, with a KV cache.

    After a short case to warm up, each model does so once untimed, to see what memory it needs; the timed turns then
    alternate. The accelerator is waited for before the clock is read.
    """
    case = fitting(asked, pair.dense)
    times: dict[Which, list[tuple[float, float]]] = {which: [] for which in BOTH}
    peaks: dict[Which, int | None] = {}
    for which in BOTH:
        with pair.at_work(which) as model:
            _turn(model, WARM_UP)
            peaks[which] = peak_memory.peak_bytes(model, partial(_turn, model, case))
    start = time.perf_counter()
    least, most = ROUNDS
    while len(times["pruned"]) < least or (len(times["pruned"]) < most and time.perf_counter() - start < SECONDS):
        for which in BOTH:
            with pair.at_work(which) as model:
                times[which].append(_turn(model, case))
    return Benchmark(
        case=case,
        rounds=len(times["pruned"]),
        device=torch.cuda.get_device_name(pair.device) if pair.device.type == "cuda" else "cpu",
        threads=torch.get_num_threads(),
        speeds={which: _speed(case, times[which], peaks[which]) for which in BOTH},
    )


def fitting(asked: BenchmarkSpec, model: PreTrainedModel) -> Case:
    """What was asked for, within the positions that the model has: at most half of them are for new tokens."""
    positions = int(model.config.max_position_embeddings)
    new = min(asked.new_tokens, max(1, positions // 2))
    return Case(asked.batch_size, min(asked.prompt_tokens, max(1, positions - new)), new)


def _speed(case: Case, times: list[tuple[float, float]], peak: int | None) -> Speed:
    prefill = statistics.median(prefill for prefill, _ in times)
    step = statistics.median(decode for _, decode in times) / case.new_tokens
    return Speed(
        prefill=case.batch_size * case.prompt_tokens / prefill,
        decode=case.batch_size / step,
        prefill_seconds=prefill,
        decode_seconds_per_token=step,
        peak_bytes=peak,
    )


def _turn(model: PreTrainedModel, case: Case) -> tuple[float, float]:
    """Seconds to read, and to write."""
    model.eval()
    generator = torch.Generator().manual_seed(0)
    size = (case.batch_size, case.prompt_tokens)
    ids_BT = torch.randint(model.config.vocab_size, size, generator=generator).to(model.device)
    start = _now(model.device)
    output = model(input_ids=ids_BT, use_cache=True, logits_to_keep=1)
    read = _now(model.device)
    for _ in range(case.new_tokens):
        token_BT = output.logits[:, -1:].argmax(dim=-1)
        output = model(input_ids=token_BT, past_key_values=output.past_key_values, use_cache=True)
    return read - start, _now(model.device) - read


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
