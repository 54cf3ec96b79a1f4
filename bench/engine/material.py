"""The models and texts of the protocol: the model from the package index, the text from the folder of test data."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from cli.demo import model
from worker.engine import gguf_models

TEXT = "wikitext-2"
FURTHER = "ptb"


class Missing(Exception):
    """Something that cannot be made here is not there; the message says what to do."""


@dataclass(frozen=True)
class Material:
    """Stock folders of the grouped-query model and of its multi-head twin, and plain texts.

    `further` is text of another kind, where it is at hand: a model must not pay with it for what it learns.
    """

    grouped: Path
    twin: Path
    train: Path
    test: Path
    further: Path | None = None


def find(folder: Path) -> Material:
    """Everything the protocol needs, made in `folder` at the first call.

    Raises:
        Missing: the text is not there.
        DemoFailed: the package index does not have the model.
    """
    text = Path(os.environ.get("PRUNERY_TEST_DATA", "")) / TEXT
    train, test = text / "valid.txt", text / "test.txt"
    if not (train.is_file() and test.is_file()):
        raise Missing(
            f"WikiText-2 in its tokenised form is not in {text}: put valid.txt and test.txt into a folder {TEXT}/ and "
            "name the folder above it in PRUNERY_TEST_DATA."
        )
    grouped, twin = folder / "smollm2-135m", folder / "smollm2-135m-multi-head"
    if not (grouped / "tokenizer.json").is_file():
        gguf_models.convert(model.gguf(folder / "gguf", print), grouped)
    if not (twin / "tokenizer.json").is_file():
        make_twin(grouped, twin)
    further = text.parent / FURTHER / "test.txt"
    if not further.is_file():
        print(f"Not measured on other text: the Penn Treebank's test text is not in {further}.", flush=True)
    return Material(grouped, twin, train, test, further if further.is_file() else None)


def make_twin(grouped: Path, twin: Path) -> None:
    """Write a model with as many KV heads as query heads, each a copy of the one that its query head had."""
    dense = AutoModelForCausalLM.from_pretrained(grouped)
    fields = dense.config.to_dict()
    copies = fields["num_attention_heads"] // fields["num_key_value_heads"]
    config = AutoConfig.for_model(**fields | {"num_key_value_heads": fields["num_attention_heads"]})
    state = dense.state_dict()
    for name, tensor in state.items():
        if ".k_proj." in name or ".v_proj." in name:
            heads = tensor.unflatten(0, (fields["num_key_value_heads"], -1))
            state[name] = heads.repeat_interleave(copies, dim=0).flatten(0, 1)
    with torch.device("meta"):
        wide = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    wide.load_state_dict(state, assign=True)
    wide.tie_weights()
    wide.save_pretrained(twin)
    AutoTokenizer.from_pretrained(grouped).save_pretrained(twin)
