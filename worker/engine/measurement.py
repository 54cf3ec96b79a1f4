"""What the written folder is worth, measured beside the dense model in the same run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from jobs import errors
from jobs.specs import JobSpec
from worker.engine import base_models, evaluation, speed
from worker.engine.base_models import BaseModel
from worker.engine.plan import Plan
from worker.engine.speed import Speed
from worker.engine.windows import Windows

SAMPLE_TOKENS = 48


@dataclass(frozen=True)
class Sample:
    """One prompt, continued greedily by both models."""

    prompt: str
    dense: str
    pruned: str


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Sizes in bytes on disk at the same dtype; perplexities on the same held-out windows."""

    dense_bytes: int
    pruned_bytes: int
    dense_perplexity: float
    finetuned_perplexity: float | None
    pruned_perplexity: float
    protocol: dict[str, Any]
    speed: dict[str, Speed] | None
    samples: tuple[Sample, ...]


def of_result(
    base: BaseModel,
    folder: Path,
    spec: JobSpec,
    *,
    held_out: Windows,
    dtype: torch.dtype,
    tokenizer: PreTrainedTokenizerBase,
    plan: Plan,
    dense_perplexity: float,
    finetuned_perplexity: float | None,
) -> Measured:
    """Reload the folder as a user would and measure it.

    Raises:
        VerificationFailed: it does not hold as many parameters as the plan says.
    """
    asked = spec.evaluation
    pruned = base_models.open_folder(folder).load(dtype)
    _check_count(pruned, base, plan)
    models = {"pruned": pruned}
    if asked.benchmark or asked.prompts:
        models = {"dense": base.load(dtype), "pruned": pruned}
    return Measured(
        dense_bytes=weight_bytes(base.folder) if base.dtype == dtype else base.shape.parameters * dtype.itemsize,
        pruned_bytes=weight_bytes(folder),
        dense_perplexity=dense_perplexity,
        finetuned_perplexity=finetuned_perplexity,
        pruned_perplexity=evaluation.perplexity(pruned, held_out, asked.max_windows),
        protocol={
            "windows": min(len(held_out), asked.max_windows),
            "window_tokens": held_out.ids_NT.shape[1],
            "stride": "none: windows do not overlap",
            "begin_of_text": "none per window",
            "dtype": str(dtype).removeprefix("torch."),
            "text": "evaluation.dataset" if asked.dataset else "held out of the training data",
        },
        speed=speed.measure(models) if asked.benchmark else None,
        samples=tuple(_sample(prompt, models, tokenizer) for prompt in asked.prompts),
    )


def weight_bytes(folder: Path) -> int:
    """Bytes of the weight files on disk. Some repositories hold the same weights again under other names."""
    return sum(path.stat().st_size for path in folder.glob("model*.safetensors"))


def _check_count(pruned: PreTrainedModel, base: BaseModel, plan: Plan) -> None:
    planned = base.shape.parameters - plan.removed(base.shape)
    found = sum(parameter.numel() for parameter in pruned.parameters())
    if found != planned:
        raise errors.VerificationFailed(f"The written model has {found:,} parameters, the plan says {planned:,}.")


def _sample(prompt: str, models: dict[str, PreTrainedModel], tokenizer: PreTrainedTokenizerBase) -> Sample:
    return Sample(prompt, *(_continued(prompt, models[name], tokenizer) for name in ("dense", "pruned")))


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
