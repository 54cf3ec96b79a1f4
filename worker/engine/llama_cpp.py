"""llama.cpp, as its users run it: a GGUF file behind its server, which answers this machine alone."""

import json
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch  # before the next: its OpenMP serves where the system has none
import xllamacpp
from torch import Tensor

TOP, FORCING = 64, 1e6


@dataclass(frozen=True)
class Continuation:
    """What it went on to write, greedily."""

    text: str
    tokens: list[int]
    stopped: bool
    """At an end-of-text token, which is not among the tokens."""
    first: dict[int, float]
    """Log-probabilities of the likeliest first tokens."""


def version() -> str:
    """Of the wheel that holds llama.cpp."""
    return metadata.version("xllamacpp")


def continuation(path: Path, text: str, count: int, *, readable: int) -> tuple[list[int], Continuation]:
    """The tokens of `text`, and `count` more, where only the output at the last token is computed.

    Args:
        readable: any token that is whole characters.
    """
    with _server(path) as ask:
        tokens = ask("/tokenize", {"content": text, "add_special": True})["tokens"]
        greedy = {"prompt": text, "temperature": 0, "top_k": 1, "cache_prompt": False}
        # Probabilities come with readable tokens only; they are taken before the bias that chooses one.
        one = ask("/completion", greedy | {"n_predict": 1, "n_probs": TOP, "logit_bias": [[readable, FORCING]]})
        found = ask("/completion", greedy | {"n_predict": count, "return_tokens": True})
    likely = {entry["id"]: entry["logprob"] for entry in one["completion_probabilities"][0]["top_logprobs"]}
    return tokens, Continuation(found["content"], found["tokens"], found["stop_type"] == "eos", likely)


def last_states(path: Path, text: str) -> Tensor:
    """(T, H): what the head is applied to, at every token of `text`."""
    kind = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_NONE
    with _server(path, embedding=True, pooling_type=kind, embd_normalize=-1) as ask:
        (found,) = ask("/embedding", {"content": text, "embd_normalize": -1})
    return torch.tensor(found["embedding"], dtype=torch.float64)


@contextmanager
def _server(path: Path, **settings: Any) -> Iterator[Any]:
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.n_gpu_layers = 512, 1, 0
    params.warmup, params.verbosity = False, 0
    params.cpuparams.n_threads = len(os.sched_getaffinity(0))
    # Keys and values unrounded, so that what differs is the file's doing.
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    for name, value in settings.items():
        setattr(params, name, value)
    server = xllamacpp.Server(params)

    def ask(route: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            server.listening_address + route, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return json.load(answer)

    yield ask
