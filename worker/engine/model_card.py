"""The model card: what a reader of the published repository sees first."""

from typing import Any

import yaml

from jobs.sources import HubModel
from jobs.specs import JobSpec
from worker.engine.base_models import BaseModel

LOADING = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer
model, tokenizer = AutoModelForCausalLM.from_pretrained(FOLDER), AutoTokenizer.from_pretrained(FOLDER)
```"""


def text(spec: JobSpec, base: BaseModel, summary: dict[str, Any]) -> str:
    """Markdown with the front matter that hubs read."""
    plan = summary["plan"]
    return "\n".join(
        [
            _front_matter(spec, base),
            f"# {spec.name or base.name + ', pruned'}",
            "",
            f"{base.name} with {summary['achieved_ratio']:.1%} of its block parameters removed "
            f"({summary['requested_ratio']:.1%} asked) by LoRA fine-tuning with iterative structured pruning. "
            f"A stock checkpoint: {_of(plan['query_heads'])} attention heads, {_of(plan['kv_heads'])} KV heads and "
            f"{_of(plan['ffn'])} FFN channels in each of {plan['layers']} layers.",
            "",
            "## Before and after",
            "",
            *_table(summary),
            "",
            _protocol(summary),
            "",
            "## Loading",
            "",
            LOADING,
            "",
            f"Reloaded in a clean process with transformers {summary['loads_with']['transformers']}, without remote "
            f"code: the largest difference of a logit was {summary['max_abs_logit_difference']:.2g}.",
            "",
            "## Making it again",
            "",
            "`recipe.yaml` holds the whole request: `prunery submit recipe.yaml`. "
            "`compression_report.json` holds every number, the loss curve and the kept units.",
            "",
        ]
    )


def _of(change: dict[str, int]) -> str:
    return f"{change['after']} of {change['before']}"


def _front_matter(spec: JobSpec, base: BaseModel) -> str:
    fields: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["prunery"]}
    if base.licence:
        fields["license"] = base.licence
    if isinstance(spec.base_model, HubModel):
        fields["base_model"] = spec.base_model.id
    return f"---\n{yaml.safe_dump(fields, sort_keys=False)}---\n"


def _table(summary: dict[str, Any]) -> list[str]:
    dense, pruned, finetuned = summary["dense"], summary["pruned"], summary["dense_finetuned"]
    rows = [
        ("parameters", f"{dense['parameters']:,}", "", f"{pruned['parameters']:,}"),
        ("bytes on disk", f"{dense['bytes']:,}", "", f"{pruned['bytes']:,}"),
        (
            "perplexity",
            f"{dense['perplexity']:.2f}",
            f"{finetuned['perplexity']:.2f}" if finetuned else "not measured",
            f"{pruned['perplexity']:.2f}",
        ),
    ]
    if dense["prefill_tokens_per_second"] is not None:
        for title, key in (("prefill", "prefill_tokens_per_second"), ("decode", "decode_tokens_per_second")):
            rows.append((f"{title}, tokens/s", f"{dense[key]:,.0f}", "", f"{pruned[key]:,.0f}"))
    return [
        "| | dense | dense, fine-tuned alike | pruned |",
        "|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _protocol(summary: dict[str, Any]) -> str:
    protocol = summary["perplexity_protocol"]
    return (
        f"Perplexity on {protocol['windows']} windows of {protocol['window_tokens']} tokens ({protocol['text']}); "
        f"stride: {protocol['stride']}; begin of text: {protocol['begin_of_text']}; in {protocol['dtype']}. "
        "Speeds at batch size 1, medians of runs in turns on one machine."
    )
