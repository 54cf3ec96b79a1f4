"""The model card: hubs can read its front matter, and a person finds how to load it and what the licence asks."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from jobs.shapes import read
from jobs.specs import JobSpec
from tests.worker.engine.test_report import finished
from worker.engine import model_card
from worker.engine.base_models import BaseModel
from worker.engine.certificate import GgufProof, QuantisedProof
from worker.engine.proofs import Proofs

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 8,
    "num_hidden_layers": 4,
    "vocab_size": 96,
}
PROOFS = Proofs(
    [
        GgufProof(
            format="gguf_f16",
            file="model-F16.gguf",
            architecture="llama",
            llama_cpp="1",
            tokens=48,
            all_tokens=0.001,
            last_token=0.001,
            greedy_tokens=16,
            greedy_tokens_equal=16,
            quantisation=0.0007,
            same_likeliest=1.0,
            text="and so on",
            as_safetensors=True,
        )
    ],
    {
        "w8a8": QuantisedProof(
            format="w8a8",
            transformers="5",
            compressed_tensors="0",
            quantisation=0.05,
            same_likeliest=0.97,
            greedy_tokens=12,
            greedy_tokens_equal=12,
        )
    },
)


def spec() -> JobSpec:
    hub = {"source": "hub", "id": "acme/llama"}
    method = {"type": "lora_prune", "ratio": 0.3}
    return JobSpec.model_validate({"base_model": hub, "dataset": hub, "method": method})


def base(licence: str | None) -> BaseModel:
    return BaseModel(Path("/nowhere"), "acme/llama", read(LLAMA), LLAMA, "abc", licence)


def test_hubs_read_the_front_matter() -> None:
    card = ModelCard(model_card.text(spec(), base("apache-2.0"), finished(), PROOFS))
    fields = card.data.to_dict()
    assert fields["base_model"] == "acme/llama"
    assert fields["base_model_relation"] == "finetune"
    assert (fields["license"], fields["library_name"], fields["pipeline_tag"]) == (
        *("apache-2.0", "transformers"),
        "text-generation",
    )
    assert "gguf" in fields["tags"]
    variant = ModelCard(model_card.text(spec(), base(None), finished(), PROOFS, variant="w8a8")).data.to_dict()
    assert variant["base_model_relation"] == "quantized"
    assert "--revision w8a8" in model_card.text(spec(), base(None), finished(), PROOFS, variant="w8a8")
    assert "license" not in variant


def test_a_reader_finds_four_ways_to_load_it() -> None:
    card = model_card.text(spec(), base("apache-2.0"), finished(), PROOFS)
    for way in ("hf download REPOSITORY", 'from_pretrained("REPOSITORY"', "vllm serve", "llama-cli -m model-F16.gguf"):
        assert way in card
    assert "vllm serve REPOSITORY --revision w8a8" in card
    assert "without any padding" not in card
    narrow = Proofs([PROOFS.gguf[0].model_copy(update={"architecture": "deci"})])
    assert "without any padding" in model_card.text(spec(), base(None), finished(), narrow)
    assert "there is no GGUF file here" in model_card.text(spec(), base(None), finished(), Proofs())


def test_a_reader_is_told_of_a_teacher() -> None:
    taught = finished(teacher={"answers": "cached", "weight": 0.25, "temperature": 2.0})
    assert "as noted before the first cut, weigh 25% in its loss" in model_card.text(spec(), base(None), taught, PROOFS)
    assert "Distilled" not in model_card.text(spec(), base(None), finished(), PROOFS)


@pytest.mark.parametrize(
    ("licence", "words"),
    [
        ("llama3.2", "Built with Llama"),
        ("gemma", "Gemma Terms of Use"),
        ("apache-2.0", "comes under the licence `apache-2.0`"),
        (None, "does not state a licence"),
    ],
)
def test_the_licence_of_the_base_model_is_carried_on(licence: str | None, words: str) -> None:
    assert words in model_card.text(spec(), base(licence), finished(), Proofs())
