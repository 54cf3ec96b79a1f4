"""The form of compression_report.json: what a job did, in numbers. The service shows all but its two longest parts.

`python -m worker.engine.report > docs/compression_report.schema.json` renews the published schema.
"""

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from jobs.outline import Plan as Outline
from worker.engine.history import History

VERSION: Literal[2] = 2

LONGEST = {"history", "kept"}
"""What the summary leaves out."""


class Part(BaseModel):
    """A part of the report; what it does not describe it does not hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Base(Part):
    """The model that was compressed."""

    name: str = Field(description="Name or folder.")
    revision: str | None = Field(description="Commit on the hub.")
    licence: str | None = Field(description="As its model card states it.")


class Figures(Part):
    """One of the two models. Perplexity, speed and memory are taken in `perplexity_protocol.dtype`."""

    parameters: int = Field(description="Parameters, tied ones once; zeros that pad narrow layers do not count.")
    stored_parameters: int = Field(description="The same with those zeros: what is in the files.")
    bytes: int = Field(description="Bytes of the weight files in the output's dtype.")
    perplexity: float = Field(description="On the held-out windows, by `perplexity_protocol`.")
    prefill_tokens_per_second: float | None = Field(description="Reading a prompt; null if not measured.")
    decode_tokens_per_second: float | None = Field(description="Writing with a KV cache; null if not measured.")
    prefill_seconds: float | None = Field(description="Latency of reading the benchmark's prompt.")
    decode_seconds_per_token: float | None = Field(description="Latency of one more token of each sequence.")
    peak_bytes: int | None = Field(
        description="Weights, and the most allocated beside them in the benchmark: on CUDA by tensors, on a CPU by the "
        "process. Null if not measured."
    )


class Finetuned(Part):
    """The dense model after the same fine-tuning: what pruning cost, apart from what training did."""

    perplexity: float = Field(description="On the same held-out windows.")
    dtype: str = Field(description="Of the weights while training; its adapters are beside them, not merged.")


class Teacher(Part):
    """Whom the pruned model learned from besides the text: the dense model. Its part is in the losses of its steps."""

    answers: Literal["online", "cached"] = Field(description="Given step by step, or noted before the first cut.")
    weight: float = Field(description="Its part of the training loss.")
    temperature: float = Field(description="At which the distributions of both models were compared.")


class PerplexityLimit(Part):
    """Perplexities that decided how much went, on a few held-out windows; taken right after a cut."""

    limit: float = Field(description="What may not be passed.")
    dense: float = Field(description="Of the untouched model.")
    kept: float = Field(description="After the last cut that stayed.")
    refused: float | None = Field(description="After the cut that was taken back; null if the largest ratio passed.")


class Protocol(Part):
    """All that perplexity depends on besides the model."""

    name: str = Field(description="`held_out`, or as the request names it.")
    text: str = Field(description="Where the text comes from.")
    windows: int = Field(description="Windows read.")
    window_tokens: int = Field(description="Tokens of each, a begin-of-text token of its own among them.")
    predicted_tokens: int = Field(description="Tokens that the perplexity is the mean over.")
    stride: str = Field(description="How far windows are apart, and what is not predicted.")
    begin_of_text: str = Field(description="Whether windows, or the text, begin with a begin-of-text token.")
    dtype: str = Field(description="In which both models run; likelihoods are taken in float32.")
    tokenizer: str = Field(description="Class of the tokenizer.")
    adds_begin_of_text: bool = Field(description="Whether the tokenizer puts a begin-of-text token before a text.")


class Perplexities(Part):
    """Both models by one further protocol."""

    protocol: Protocol
    dense: float = Field(description="Perplexity of the dense model.")
    pruned: float = Field(description="Perplexity of the pruned model.")


class Agreement(Part):
    """How far the pruned model's next-token distributions are from the dense one's, on the held-out windows."""

    tokens: int = Field(description="Predicted tokens.")
    kl_mean: float = Field(description="Mean of KL(dense ‖ pruned) over the tokens, in nats, whole vocabulary.")
    kl_median: float = Field(description="Its median.")
    kl_p99: float = Field(description="Its 99th percentile.")
    top1: float = Field(description="Part of the tokens at which both models find the same token likeliest.")


class Metric(Part):
    """One metric of a task, side by side."""

    dense: float
    pruned: float


class Benchmark(Part):
    """What speed and memory were measured on; figures are medians."""

    batch_size: int = Field(description="Sequences at once.")
    prompt_tokens: int = Field(description="Random tokens read at once.")
    new_tokens: int = Field(description="Tokens written greedily, with a KV cache.")
    rounds: int = Field(description="Timed turns of each model; the models take turns.")
    device: str = Field(description="The accelerator's name, or `cpu`.")
    threads: int = Field(description="Threads of PyTorch on the CPU.")


class Reload(Part):
    """The clean process that reloaded the published folder with stock classes and no remote code."""

    transformers: str = Field(description="Its version.")
    torch: str = Field(description="Its version.")
    greedy_tokens: int = Field(description="Tokens that it generated with a KV cache.")


class Sample(Part):
    """A prompt that both models went on with, greedily."""

    prompt: str
    dense: str
    pruned: str


class LayerUnits(Part):
    """The units that a layer keeps, by their places in the base model."""

    index: int = Field(description="Place of the layer in the base model, from 0.")
    kv_groups: list[int] = Field(description="KV heads, each with its query heads.")
    ffn_channels: list[int] = Field(description="Channels between up and down projection.")


class Report(Part):
    """What a compression job did, in numbers. Ratios are of the block parameters (all but embeddings and head)."""

    model_config = ConfigDict(title="compression_report.json")

    version: Literal[2] = Field(VERSION, description="Of this form; it grows when a field changes its meaning.")
    base_model: Base
    method: str = Field(description="Type of the method; recipe.yaml holds all its settings.")
    requested_ratio: float = Field(
        description="Part of the block parameters that was to go; with a limit on perplexity, at most."
    )
    perplexity_limit: PerplexityLimit | None = Field(description="How far a limit on perplexity let the job go.")
    achieved_ratio: float = Field(description="Part of the block parameters that went.")
    ended_early_at: int | None = Field(
        description="The step after which the training was told to finish, though more steps, and perhaps cuts, were "
        "planned; null if it went to its end."
    )
    plan: Outline = Field(description="The architecture before and after.")
    dense: Figures
    dense_finetuned: Finetuned | None = Field(description="Null if not asked for.")
    pruned: Figures
    teacher: Teacher | None = Field(description="Null if the pruned model learned from the text alone.")
    perplexity_change: float = Field(description="Pruned over dense perplexity, less one.")
    perplexity_protocol: Protocol = Field(description="Of the perplexities above.")
    perplexities: list[Perplexities] = Field(description="By the further protocols asked for.")
    agreement: Agreement | None = Field(description="Null if not asked for.")
    tasks: dict[str, dict[str, Metric]] = Field(
        description="Metrics by task, the request's own questions and tasks of the lm-eval harness alike; one with "
        "`stderr` in its name is the standard error of the one without."
    )
    benchmark: Benchmark | None = Field(
        description="Null if not asked for, or if the device could not hold one of the models."
    )
    merged_logit_difference: float = Field(
        description="Largest difference of a logit between the model in training and the merged, cut one, in float64."
    )
    max_abs_logit_difference: float = Field(
        description="Largest difference of a logit between what was written and what a clean process read."
    )
    loads_with: Reload
    versions: dict[str, str] = Field(description="Of Python and of the libraries that the numbers depend on.")
    samples: list[Sample] = Field(description="The prompts asked for.")
    seconds: dict[str, float] = Field(description="How long each phase took.")
    history: History = Field(description="The course of the training; not in the summary that the service shows.")
    kept: list[LayerUnits] = Field(description="Every layer that stays; not in the summary that the service shows.")

    def summary(self) -> dict[str, Any]:
        """Everything but the lists of units and the course of the training."""
        return self.model_dump(mode="json", exclude=LONGEST)


def schema() -> str:
    """The JSON Schema, as it is published."""
    return json.dumps(Report.model_json_schema(mode="serialization"), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(schema(), end="")  # noqa: T201
