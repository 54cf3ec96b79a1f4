"""What a job did, in numbers: the summary that the service shows."""

from dataclasses import asdict
from typing import Any

from jobs import widths
from jobs.outline import outline
from jobs.specs import JobSpec
from worker.engine.base_models import BaseModel
from worker.engine.measurement import Measured
from worker.engine.plan import Plan
from worker.engine.verification import Certificate


def summary(
    base: BaseModel,
    spec: JobSpec,
    plan: Plan,
    measured: Measured,
    merged_difference: float,
    certificate: Certificate,
    seconds: dict[str, float],
) -> dict[str, Any]:
    """Everything but the lists of units and the loss curve. Ratios are of the block parameters."""
    shape, kept = base.shape, plan.widths
    finetuned = measured.finetuned_perplexity
    return {
        "base_model": {"name": base.name, "revision": base.revision, "licence": base.licence},
        "requested_ratio": spec.method.ratio,
        "achieved_ratio": widths.ratio(shape, kept),
        "plan": outline(shape, kept).model_dump(),
        "dense": {
            "parameters": shape.parameters,
            "bytes": measured.dense_bytes,
            "perplexity": measured.dense_perplexity,
            **_speed(measured, "dense"),
        },
        "dense_finetuned": None if finetuned is None else {"perplexity": finetuned},
        "pruned": {
            "parameters": shape.parameters - plan.removed(shape),
            "bytes": measured.pruned_bytes,
            "perplexity": measured.pruned_perplexity,
            **_speed(measured, "pruned"),
        },
        "perplexity_change": measured.pruned_perplexity / measured.dense_perplexity - 1,
        "perplexity_protocol": measured.protocol,
        "merged_logit_difference": merged_difference,
        "max_abs_logit_difference": certificate.max_abs_difference,
        "loads_with": {
            "transformers": certificate.transformers,
            "torch": certificate.torch,
            "greedy_tokens": certificate.greedy_tokens,
        },
        "samples": [asdict(sample) for sample in measured.samples],
        "seconds": seconds,
    }


def _speed(measured: Measured, name: str) -> dict[str, float | None]:
    speed = measured.speed[name] if measured.speed else None
    return {
        "prefill_tokens_per_second": speed.prefill if speed else None,
        "decode_tokens_per_second": speed.decode if speed else None,
    }
