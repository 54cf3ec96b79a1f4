"""The report of a finished job, put together from what was decided, measured and proven."""

import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version

import torch
from transformers import PreTrainedTokenizerBase

from jobs import goals, widths
from jobs.outline import of_layout
from jobs.shapes import ModelShape
from jobs.specs import DistillationSpec, JobSpec
from worker.engine import protocols, report
from worker.engine.base_models import BaseModel
from worker.engine.history import History
from worker.engine.measurement import Measured
from worker.engine.methods.outcome import Outcome
from worker.engine.plan import Plan
from worker.engine.protocols import Protocol
from worker.engine.report import Report
from worker.engine.side_by_side import Which
from worker.engine.verification import Proof

LIBRARIES = ("prunery", "torch", "transformers", "tokenizers", "peft", "datasets")


def settle(
    base: BaseModel,
    spec: JobSpec,
    *,
    tokenizer: PreTrainedTokenizerBase,
    outcome: Outcome,
    measured: Measured,
    finetuned: report.Finetuned | None,
    merged_difference: float,
    proof: Proof,
    seconds: Mapping[str, float],
    history: History,
) -> Report:
    """All of a job's numbers in the form in which they are published; of the spec what was left open is settled."""
    shape, plan, walk, layout = base.shape, outcome.plan, outcome.walk, outcome.plan.layout
    held_out, benchmark = measured.held_out, measured.benchmark
    return Report(
        base_model=report.Base(name=base.name, revision=base.revision, licence=base.licence),
        method=spec.method.type,
        requested_ratio=goals.wanted(shape, spec) / shape.block_parameters,
        perplexity_limit=walk and report.PerplexityLimit(**asdict(walk)),
        achieved_ratio=widths.ratio(shape, layout),
        ended_early_at=history.last_step if outcome.ended_early else None,
        plan=of_layout(shape, layout),
        dense=_figures("dense", measured, shape, plan),
        dense_finetuned=finetuned,
        pruned=_figures("pruned", measured, shape, plan),
        teacher=_teacher(spec.method.distillation),
        perplexity_change=held_out.pruned / held_out.dense - 1,
        perplexity_protocol=_protocol(held_out.protocol, measured.dtype, tokenizer),
        perplexities=[
            report.Perplexities(
                protocol=_protocol(found.protocol, measured.dtype, tokenizer), dense=found.dense, pruned=found.pruned
            )
            for found in measured.perplexities
        ],
        agreement=measured.agreement and report.Agreement(**asdict(measured.agreement)),
        tasks=_tasks(measured),
        benchmark=benchmark
        and report.Benchmark(
            **asdict(benchmark.case), rounds=benchmark.rounds, device=benchmark.device, threads=benchmark.threads
        ),
        merged_logit_difference=merged_difference,
        max_abs_logit_difference=proof.max_abs_difference,
        loads_with=report.Reload(transformers=proof.transformers, torch=proof.torch, greedy_tokens=proof.greedy_tokens),
        versions=_versions(harness=bool(spec.evaluation.tasks)),
        samples=[report.Sample(**asdict(sample)) for sample in measured.samples],
        seconds=dict(seconds),
        history=history,
        kept=[report.LayerUnits(**layer) for layer in plan.to_json()],
    )


def _teacher(spec: DistillationSpec) -> report.Teacher | None:
    if spec.mode == "off":
        return None
    assert spec.mode != "auto"  # settled before
    return report.Teacher(answers=spec.mode, weight=spec.weight, temperature=spec.temperature)


def _figures(which: Which, measured: Measured, shape: ModelShape, plan: Plan) -> report.Figures:
    speed = measured.benchmark and measured.benchmark.speeds[which]
    is_dense = which == "dense"
    layout = widths.dense(shape) if is_dense else plan.layout
    return report.Figures(
        parameters=widths.parameters(shape, layout),
        stored_parameters=widths.stored_parameters(shape, layout),
        bytes=measured.dense_bytes if is_dense else measured.pruned_bytes,
        perplexity=measured.held_out.dense if is_dense else measured.held_out.pruned,
        prefill_tokens_per_second=speed and speed.prefill,
        decode_tokens_per_second=speed and speed.decode,
        prefill_seconds=speed and speed.prefill_seconds,
        decode_seconds_per_token=speed and speed.decode_seconds_per_token,
        peak_bytes=speed and speed.peak_bytes,
    )


def _protocol(protocol: Protocol, dtype: torch.dtype, tokenizer: PreTrainedTokenizerBase) -> report.Protocol:
    windows = protocol.windows
    return report.Protocol(
        name=protocol.name,
        text=protocol.text,
        windows=len(windows),
        window_tokens=windows.ids_NT.shape[1],
        predicted_tokens=protocol.predicted_tokens,
        stride="none: windows do not overlap, and their first token is not predicted",
        begin_of_text="one per window" if protocol.begin_of_text else "none per window",
        dtype=str(dtype).removeprefix("torch."),
        tokenizer=type(tokenizer).__name__,
        adds_begin_of_text=protocols.puts_begin_of_text(tokenizer),
    )


def _tasks(measured: Measured) -> dict[str, dict[str, report.Metric]]:
    dense, pruned = measured.tasks["dense"], measured.tasks["pruned"]
    return {
        task: {name: report.Metric(dense=value, pruned=pruned[task][name]) for name, value in metrics.items()}
        for task, metrics in dense.items()
    }


def _versions(*, harness: bool) -> dict[str, str]:
    libraries = (*LIBRARIES, "lm_eval") if harness else LIBRARIES
    return {"python": platform.python_version()} | {name: version(name) for name in libraries}
