"""What the written folder is worth, measured beside the dense model in the same run and the same dtype."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from jobs import errors, widths
from jobs.evaluations import EvaluationSpec
from jobs.rows import ChoiceRow
from worker.engine import (
    agreement,
    datasets,
    evaluation,
    harness,
    multiple_choice,
    protocols,
    side_by_side,
    speed,
)
from worker.engine.agreement import Agreement
from worker.engine.base_models import BaseModel
from worker.engine.harness import Scores
from worker.engine.plan import Plan
from worker.engine.protocols import Protocol
from worker.engine.side_by_side import BOTH, Pair, Which
from worker.engine.speed import Benchmark
from worker.engine.windows import Windows

SAMPLE_TOKENS = 48


@dataclass(frozen=True)
class Material:
    """What models are measured on, read and checked before any training."""

    asked: EvaluationSpec
    tokenizer: PreTrainedTokenizerBase
    held_out: Protocol
    protocols: tuple[Protocol, ...]
    questions: Mapping[str, list[ChoiceRow]]
    seed: int


@dataclass(frozen=True)
class Perplexities:
    """Of both models, by one protocol."""

    protocol: Protocol
    dense: float
    pruned: float


@dataclass(frozen=True)
class Sample:
    """One prompt, continued greedily by both models."""

    prompt: str
    dense: str
    pruned: str


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Sizes in bytes on disk at the same dtype; everything else of both models in `dtype`."""

    dtype: torch.dtype
    dense_bytes: int
    pruned_bytes: int
    held_out: Perplexities
    perplexities: tuple[Perplexities, ...]
    agreement: Agreement | None
    tasks: dict[Which, Scores]
    benchmark: Benchmark | None
    samples: tuple[Sample, ...]


def prepare(
    asked: EvaluationSpec,
    texts: Mapping[str, datasets.Reachable],
    tokenizer: PreTrainedTokenizerBase,
    held_out: Windows,
    seed: int,
) -> Material:
    """Read all that will be asked; `texts` by the JSON Pointer of the field that names each.

    Raises:
        DatasetError, EvaluationImpossible
    """
    questions = {
        task.name: datasets.questions(texts[f"/evaluation/multiple_choice/{number}/dataset"])[: asked.task_limit]
        for number, task in enumerate(asked.multiple_choice)
    }
    further = tuple(protocols.prepare(asked, texts, tokenizer))
    return Material(asked, tokenizer, protocols.held_out(held_out, asked, texts), further, questions, seed)


def of_result(base: BaseModel, folder: Path, material: Material, *, dtype: torch.dtype, plan: Plan) -> Measured:
    """Reload the folder as a user would, and the dense model beside it in the dtype of the folder.

    Raises:
        VerificationFailed: it does not hold as many parameters as the plan says.
    """
    pair = side_by_side.load(base, folder, dtype)
    _check_count(pair.pruned, base, plan)
    asked = material.asked
    held_out, agreed = _held_out(pair, material)
    return Measured(
        dtype=dtype,
        dense_bytes=file_bytes(base.folder) if base.dtype == dtype else base.shape.parameters * dtype.itemsize,
        pruned_bytes=file_bytes(folder),
        held_out=held_out,
        perplexities=tuple(_perplexities(pair, protocol) for protocol in material.protocols),
        agreement=agreed,
        tasks={which: _tasks(pair, which, material) for which in BOTH},
        benchmark=benchmark(pair, asked),
        samples=_samples(pair, material),
    )


def file_bytes(folder: Path) -> int:
    """Bytes of the weight files on disk. Some repositories hold the same weights again under other names."""
    return sum(path.stat().st_size for path in folder.glob("model*.safetensors"))


def benchmark(pair: Pair, asked: EvaluationSpec) -> Benchmark | None:
    """Speed and memory if asked for; None too if a model is not whole on the device, as nobody would serve it there."""
    if not asked.benchmark or pair.placement == "block_by_block":
        return None
    return speed.measure(pair, asked.benchmark_case)


def _check_count(pruned: PreTrainedModel, base: BaseModel, plan: Plan) -> None:
    planned = widths.stored_parameters(base.shape, plan.layout)
    found = sum(parameter.numel() for parameter in pruned.parameters())
    if found != planned:
        raise errors.VerificationFailed(f"The written model has {found:,} parameters, the plan says {planned:,}.")


def _held_out(pair: Pair, material: Material) -> tuple[Perplexities, Agreement | None]:
    if not material.asked.agreement:
        return _perplexities(pair, material.held_out), None
    found = agreement.measure(pair, material.held_out.windows)
    return Perplexities(material.held_out, found.dense_perplexity, found.pruned_perplexity), found.agreement


def _perplexities(pair: Pair, protocol: Protocol) -> Perplexities:
    found = {}
    for which in BOTH:
        with pair.at_work(which) as model:
            found[which] = evaluation.perplexity(model, protocol.windows, len(protocol.windows))
    return Perplexities(protocol, **found)


def _tasks(pair: Pair, which: Which, material: Material) -> Scores:
    asked = material.asked
    with pair.at_work(which) as model:
        scores: Scores = {}
        for task in asked.multiple_choice:
            questions = material.questions[task.name]
            found = multiple_choice.measure(model, material.tokenizer, questions, delimiter=task.delimiter)
            scores[task.name] = asdict(found)
        if asked.tasks:
            scores |= harness.measure(
                model, material.tokenizer, asked.tasks, limit=asked.task_limit, seed=material.seed
            )
        return scores


def _samples(pair: Pair, material: Material) -> tuple[Sample, ...]:
    written = {}
    for which in BOTH:
        with pair.at_work(which) as model:
            written[which] = [_continued(prompt, model, material.tokenizer) for prompt in material.asked.prompts]
    return tuple(map(Sample, material.asked.prompts, written["dense"], written["pruned"]))


@torch.inference_mode()
def _continued(prompt: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    inputs = tokenizer(prompt, return_tensors="pt").to(model.device)
    length = inputs.input_ids.shape[1]
    written_BT = model.generate(  # type: ignore[operator]  # nn.Module hides the method's type
        input_ids=inputs.input_ids,
        attention_mask=inputs.attention_mask,
        max_new_tokens=SAMPLE_TOKENS,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
    )
    return str(tokenizer.decode(written_BT[0, length:], skip_special_tokens=True))
