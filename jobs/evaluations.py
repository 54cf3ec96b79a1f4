"""What a client may ask to be measured, before and after."""

from collections import Counter
from typing import Annotated, Self

from pydantic import Field, model_validator

from jobs.sources import DataSource, HubData, Spec, Text

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]{0,63}$")]

WIKITEXT2 = HubData(source="hub", id="Salesforce/wikitext", name="wikitext-2-raw-v1", split="test")


class PerplexitySpec(Spec):
    """One more protocol of perplexity, measured for both models.

    As it stands, `{name: ppl2048, window: 2048}` is the protocol of FLAP, SliceGPT and Wanda, and with a window of 128
    that of LoRAPrune: WikiText-2 raw, test split, rows joined by a blank line, windows that do not overlap, no
    begin-of-text token of their own.
    """

    name: Name
    dataset: DataSource = Field(WIKITEXT2, description="Rows with `text`, in their order, or one plain text.")
    join: str = Field("\n\n", max_length=16, description="What stands between two rows: all of them are one text.")
    window: int = Field(2048, ge=8, le=2**24, description="Tokens per window, the begin-of-text token among them.")
    begin_of_text: bool = Field(
        False, description="Every window starts with the tokenizer's begin-of-text token; else only the text does, "
        "with a tokenizer that puts one before a text.",
    )  # fmt: skip
    max_windows: int | None = Field(None, ge=1, description="All windows if not given.")


class MultipleChoiceSpec(Spec):
    """Questions of our own: rows with `query`, `choices` and `gold`, the place of the right choice from 0.

    The answer is the choice that is likeliest after the query: by the sum of its tokens' log-likelihoods (`acc`), or
    by that sum over the number of its characters (`acc_norm`).
    """

    name: Name
    dataset: DataSource
    delimiter: str = Field(" ", max_length=64, description=r'Between query and choice, such as "\nAnswer: ".')


class BenchmarkSpec(Spec):
    """What speed and memory are measured on."""

    batch_size: int = Field(1, ge=1, le=4096)
    prompt_tokens: int = Field(256, ge=1, le=2**20, description="Read at once; fewer if the model holds no more.")
    new_tokens: int = Field(32, ge=1, le=2**16, description="Written one by one, with a KV cache.")


class EvaluationSpec(Spec):
    """What is measured, before and after."""

    dataset: DataSource | None = Field(None, description="Held-out text; else a part of the training data is held out.")
    validation_split: float = Field(0.05, gt=0, lt=0.5, description="Part of the rows held out if no dataset is named.")
    window: int | None = Field(None, ge=8, description="Tokens per perplexity window; sequence_length if not given.")
    max_windows: int = Field(64, ge=1, le=1_000_000)
    finetuned_reference: bool = Field(
        True, description="Also train the dense model in the same way, without pruning: the fair comparison."
    )
    agreement: bool = Field(
        True,
        description="How far the pruned model's next-token distributions are from the dense one's on the held-out "
        "windows: mean KL divergence per token, and how often both find the same token likeliest.",
    )
    perplexities: tuple[PerplexitySpec, ...] = Field((), max_length=16, description="More protocols of perplexity.")
    multiple_choice: tuple[MultipleChoiceSpec, ...] = Field((), max_length=32, description="Questions of our own.")
    tasks: tuple[Name, ...] = Field(
        (), max_length=64, description="Tasks of the lm-eval harness; the worker needs the `eval` extra."
    )
    task_limit: int | None = Field(None, ge=1, description="At most so many questions of every task.")
    benchmark: bool = Field(True, description="Measure prefill and decode speed and memory, dense against pruned.")
    benchmark_case: BenchmarkSpec = BenchmarkSpec()
    prompts: tuple[Text, ...] = Field((), max_length=16, description="Continued by both models, greedily.")

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for kind, named in (
            ("perplexities", [protocol.name for protocol in self.perplexities]),
            ("multiple_choice and tasks", [*(task.name for task in self.multiple_choice), *self.tasks]),
        ):
            twice = [name for name, count in Counter(named).items() if count > 1]
            if twice:
                raise ValueError(f"{kind}: {twice[0]} is there twice")
        return self
