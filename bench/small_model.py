"""A model that a run of seconds can compress: a real one where the test data is at hand, else one made here."""

import os
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TOKENS = 400
# Larger than a trained model's weights, so that a difference between two of them would show.
SPREAD = 0.1


def find(folder: Path, text: Path) -> Path:
    """The folder of a small Llama; a made one is random, and has its tokens from `text`."""
    ready = Path(os.environ.get("PRUNERY_TEST_DATA", "")) / "models" / "stories260k"
    return ready if ready.is_dir() else _make(folder, text)


def _make(folder: Path, text: Path) -> Path:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train(
        [str(text)], trainers.BpeTrainer(vocab_size=TOKENS, initial_alphabet=alphabet, special_tokens=["</s>"])
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")  # type: ignore[no-untyped-call]
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=172,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=256,
        initializer_range=SPREAD,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
