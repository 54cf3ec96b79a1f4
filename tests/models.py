"""Small models to compress: real ones where the test data is at hand, else made and trained here in seconds.

`data` (session)          the folder of test data (PRUNERY_TEST_DATA); skips the test where there is none.
`small_model` (session)   the folder of a small Llama with grouped queries that has learned its language.
`small_text` (session)    a JSONL file of text in that language.
"""

import json
import os
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, PreTrainedModel, PreTrainedTokenizerFast

from jobs.shapes import ModelShape, read

_DATA = Path(os.environ.get("PRUNERY_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def data() -> Path:
    if not _DATA.is_dir():
        pytest.skip("needs the test data; name its folder in PRUNERY_TEST_DATA")
    return _DATA


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ready = _DATA / "models" / "stories260k"
    return ready if ready.is_dir() else trained(tmp_path_factory.mktemp("small-model"))


@pytest.fixture(scope="session")
def small_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ready = _DATA / "text" / "tinystories" / "tinystories_944k.jsonl"
    path = tmp_path_factory.mktemp("small-text") / "text.jsonl"
    rows = ready.read_text().splitlines()[:300] if ready.is_file() else [json.dumps({"text": text}) for text in _TEXTS]
    path.write_text("\n".join(rows))
    return path


# Small enough to think about; weights larger than a trained model's, so that a difference would show.
_LLAMA = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
    "initializer_range": 0.2,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
_CLASSIC = {key: _LLAMA[key] for key in _LLAMA if key not in ("num_key_value_heads", "head_dim")}
_WINDOWS = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
_SMALL: dict[str, dict[str, Any]] = {
    "granite": _LLAMA
    | {"embedding_multiplier": 3.0, "residual_multiplier": 0.5, "attention_multiplier": 0.2, "logits_scaling": 2.0},
    "gemma2": _LLAMA | _WINDOWS | {"query_pre_attn_scalar": 8},
    "gemma3_text": _LLAMA | _WINDOWS | {"query_pre_attn_scalar": 8},
    "opt": _CLASSIC | {"ffn_dim": 40, "init_std": 0.2, "word_embed_proj_dim": 24},
    "gpt_neox": _CLASSIC,
    "gpt2": {"vocab_size": 96, "n_embd": 32, "n_inner": 40, "n_layer": 2, "n_head": 4, "n_positions": 64}
    | {"initializer_range": 0.2, "bos_token_id": None, "eos_token_id": None},
}


def random_model(seed: int = 0, **fields: Any) -> tuple[PreTrainedModel, ModelShape]:
    """A random float32 decoder of any family, a Llama unless `model_type` says otherwise."""
    family = fields.get("model_type", "llama")
    settings = {"model_type": family} | _SMALL.get(family, _LLAMA) | fields
    torch.manual_seed(seed)
    config = AutoConfig.for_model(**settings)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            mean = 1.0 if "norm" in name and name.endswith("weight") and not family.startswith("gemma") else 0.0
            torch.nn.init.normal_(parameter, mean=mean, std=0.2)
    model.config.architectures = [type(model).__name__]
    return model.eval(), read(model.config.to_dict())


def trained(folder: Path) -> Path:
    """A Llama with a byte-pair tokenizer that has read a part of the Python language reference, written to `folder`."""
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=172,
            num_hidden_layers=4,
            num_attention_heads=8,
            num_key_value_heads=4,
            head_dim=8,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    ids = torch.tensor(tokenizer("\n".join(_TEXTS)).input_ids)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(120):
        starts = torch.randint(len(ids) - 128, (8,))
        batch = torch.stack([ids[start : start + 128] for start in starts])
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


def byte_tokenizer(size: int = 400) -> PreTrainedTokenizerFast:
    """A byte-level BPE, learned from the same text."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    backend.train_from_iterator(_TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>", pad_token="<|end|>")


_TEXTS = [topics[key] for key in sorted(topics)][:40]
