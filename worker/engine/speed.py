"""How fast models read a prompt and write an answer, measured in turns so that a drifting machine is fair to all."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

ROUNDS = 3
PROMPT_TOKENS = 256
NEW_TOKENS = 32


@dataclass(frozen=True)
class Speed:
    """Median tokens per second at batch size 1."""

    prefill: float
    decode: float


@torch.inference_mode()
def measure(models: Mapping[str, PreTrainedModel]) -> dict[str, Speed]:
    """One warm-up, then `ROUNDS` turns of every model: read 256 tokens, write 32 greedily with a KV cache."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    for turn in range(ROUNDS + 1):
        for name, model in models.items():
            seconds = _turn(model)
            if turn > 0:
                times[name].append(seconds)
    return {
        name: Speed(
            prefill=PROMPT_TOKENS / statistics.median(prefill for prefill, _ in found),
            decode=NEW_TOKENS / statistics.median(decode for _, decode in found),
        )
        for name, found in times.items()
    }


def _turn(model: PreTrainedModel) -> tuple[float, float]:
    model.eval()
    length = min(PROMPT_TOKENS, model.config.max_position_embeddings - NEW_TOKENS)
    generator = torch.Generator().manual_seed(0)
    ids_BT = torch.randint(model.config.vocab_size, (1, length), generator=generator).to(model.device)
    start = _now()
    output = model(input_ids=ids_BT, use_cache=True, logits_to_keep=1)
    read = _now()
    for _ in range(NEW_TOKENS):
        token_BT = output.logits[:, -1:].argmax(dim=-1)
        output = model(input_ids=token_BT, past_key_values=output.past_key_values, use_cache=True)
    return (read - start) * PROMPT_TOKENS / length, _now() - read


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
