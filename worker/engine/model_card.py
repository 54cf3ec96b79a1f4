"""The model card: what a reader of the published repository sees first."""

from collections.abc import Iterator
from typing import Any

import yaml

from jobs.formats import Format
from jobs.outline import Change
from jobs.outline import Plan as Outline
from jobs.sources import HubModel
from jobs.specs import JobSpec
from worker.engine import card_loading, comparison_table, licences, per_layer_config
from worker.engine.base_models import BaseModel
from worker.engine.proofs import Proofs
from worker.engine.report import Report, Teacher


def title(spec: JobSpec, base: BaseModel) -> str:
    """The result's name."""
    return spec.name or f"{base.name}, pruned"


def text(spec: JobSpec, base: BaseModel, report: Report, proofs: Proofs, variant: Format | None = None) -> str:
    """Markdown with the front matter that hubs read; the pictures it shows lie beside it.

    Args:
        variant: the format of the weights, where they are not those that `report` tells of but made from them.
    """
    plan = report.plan
    return "\n".join(
        [
            _front_matter(spec, base, proofs, variant),
            f"# {title(spec, base)}",
            "",
            f"{base.name} with {report.achieved_ratio:.1%} of its block parameters removed "
            f"({report.requested_ratio:.1%} asked) by LoRA fine-tuning with structured pruning in {_cuts(report)}. "
            f"A stock checkpoint: {_widths(plan)}.",
            "",
            *_early(report),
            *_of_variant(proofs, variant),
            "## Before and after",
            "",
            "![Size, speed and quality of the dense and the pruned model](report_comparison.png)",
            "",
            *_table(report),
            "",
            *_protocol(report),
            "",
            "## Training",
            "",
            "![Training loss and sparsity over the steps, with the cuts](report_training.png)",
            "",
            *_teacher(report.teacher),
            "## What is kept",
            "",
            "![KV groups and FFN channels that each layer keeps](report_units.png)",
            "",
            *_per_layer(plan),
            "## Loading",
            "",
            card_loading.text(proofs, variant),
            "",
            f"Reloaded in a clean process with transformers {report.loads_with.transformers}, without remote "
            f"code: the largest difference of a logit was {report.max_abs_logit_difference:.2g}. `certificate.json` "
            "has what was found of every format, and the hash of every file.",
            "",
            "## Making it again",
            "",
            "`recipe.yaml` holds the whole request: `prunery submit recipe.yaml`. `report.html` shows, and "
            "`compression_report.json` holds every number, the course of the training and the kept units.",
            "",
            "## Licence",
            "",
            licences.notice(base.licence, base.name),
            "",
        ]
    )


def _cuts(report: Report) -> str:
    cuts = len(report.history.prunes)
    return "one cut" if cuts == 1 else f"{cuts} cuts"


def _early(report: Report) -> Iterator[str]:
    if report.ended_early_at is not None:
        yield f"Training was told to finish after step {report.ended_early_at}, before its planned end."
        yield ""


def _teacher(teacher: Teacher | None) -> Iterator[str]:
    if teacher is not None:
        asked = "asked step by step" if teacher.answers == "online" else "as noted before the first cut"
        yield (
            f"Distilled: the answers of the dense model, {asked}, weigh {teacher.weight:.0%} in its loss, at "
            f"temperature {teacher.temperature:g}."
        )
        yield ""


def _of_variant(proofs: Proofs, variant: Format | None) -> Iterator[str]:
    if variant is not None:
        found = proofs.quantised[variant]
        yield (
            f"**This is the `{variant}` variant**: the weights below, rounded to fewer bits. Its logits differ from "
            f"theirs by {found.quantisation:.2g} of their spread, and the likeliest token is the same at "
            f"{found.same_likeliest:.0%} of the tokens."
        )
        yield ""


def _widths(plan: Outline) -> str:
    layers = f"{plan.layers} layers"
    if plan.layers_removed:
        layers += f" ({plan.layers_removed} of {plan.layers + plan.layers_removed} are gone)"
    widest = "" if plan.per_layer is None else "the widest of them, to which the others are padded with zeros: "
    return (
        f"{layers}; {widest or 'in each '}{_of(plan.query_heads)} attention heads, {_of(plan.kv_heads)} KV heads and "
        f"{_of(plan.ffn)} FFN channels"
    )


def _per_layer(plan: Outline) -> Iterator[str]:
    if plan.per_layer is not None:
        yield (
            f"`{per_layer_config.NAME}` has the widths of each layer before padding, in the words of transformers' "
            "`per_layer_config`. It is not in config.json, with which stock classes would then refuse to load."
        )
        yield ""


def _of(change: Change) -> str:
    return f"{change.after} of {change.before}"


def _front_matter(spec: JobSpec, base: BaseModel, proofs: Proofs, variant: Format | None) -> str:
    """Hubs know no word for pruning; the model is a fine-tuned one too, and they have a word for that."""
    tags = ["prunery", "pruning", "structured-pruning"]
    if proofs.gguf and variant is None:
        tags.append("gguf")
    if proofs.onnx is not None and variant is None:
        tags.append("onnx")
    if variant is not None:
        tags += ["compressed-tensors", variant]
    fields: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": tags}
    if base.licence:
        fields["license"] = base.licence
    if isinstance(spec.base_model, HubModel):
        fields["base_model"] = spec.base_model.id
        fields["base_model_relation"] = "finetune" if variant is None else "quantized"
    return f"---\n{yaml.safe_dump(fields, sort_keys=False)}---\n"


def _table(report: Report) -> Iterator[str]:
    yield "| | dense | dense, fine-tuned alike | pruned | pruned against dense |"
    yield "|---|--:|--:|--:|--:|"
    for line in (*comparison_table.figures(report), *comparison_table.tasks(report)):
        yield f"| {line.name} | {line.dense} | {line.finetuned} | {line.pruned} | {line.change} |"


def _protocol(report: Report) -> Iterator[str]:
    for protocol in (report.perplexity_protocol, *(found.protocol for found in report.perplexities)):
        yield (
            f"Perplexity {protocol.name}: {protocol.windows} windows of {protocol.window_tokens} tokens "
            f"({protocol.text}); stride: {protocol.stride}; begin of text: {protocol.begin_of_text}; "
            f"in {protocol.dtype}."
        )
    if report.agreement is not None:
        yield (
            f"On the held-out text both models find the same next token likeliest at {report.agreement.top1:.1%} of "
            f"{report.agreement.tokens:,} tokens; KL(dense ‖ pruned) is {report.agreement.kl_mean:.3f} nats on average."
        )
    if report.benchmark is not None:
        yield (
            f"Speeds at batch size {report.benchmark.batch_size}, medians of {report.benchmark.rounds} runs in turns "
            f"on one machine ({report.benchmark.device})."
        )
