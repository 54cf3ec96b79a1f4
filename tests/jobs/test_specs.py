"""What a client may ask for, and what is refused before anything else looks at it."""

import copy
import math
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from jobs.sources import Spec
from jobs.specs import JobSpec

WHOLE: dict[str, Any] = {
    "name": "a",
    "base_model": {"source": "hub", "id": "acme/llama"},
    "dataset": {"source": "file", "id": "file_1"},
    "method": {
        "type": "lora_prune",
        "ratio": 0.5,
        "lora": {"rank": 4},
        "train": {"steps": 3},
        "schedule": {},
        "score": {},
    },
    "evaluation": {"dataset": {"source": "local", "path": "/a"}},
    "output": {},
    "metadata": {"team": "nlp"},
}
SECTIONS = ["", "base_model", "dataset", "method", "method.lora", "method.train", "method.schedule", "method.score",
            "evaluation", "evaluation.dataset", "output"]  # fmt: skip


def changed(place: str, value: Any) -> dict[str, Any]:
    request = copy.deepcopy(WHOLE)
    *path, last = place.split(".")
    node = request
    for part in path:
        node = node[part]
    node[last] = value
    return request


def refused(place: str, value: Any) -> bool:
    try:
        JobSpec.model_validate(changed(place, value))
    except ValidationError:
        return True
    return False


def test_a_spec_survives_being_stored() -> None:
    spec = JobSpec.model_validate(WHOLE)
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec
    assert JobSpec.model_validate(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("seed", False),
        ("seed", "7"),
        ("method.ratio", True),
        ("method.train.steps", True),
        ("method.train.micro_batch_size", True),
        ("method.train.gradient_checkpointing", 1),
        ("method.train.gradient_checkpointing", "yes"),
    ],
)
def test_nothing_stands_for_a_value_of_another_type(place: str, value: Any) -> None:
    assert refused(place, value)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_misspelt_key_is_refused_at_every_depth(section: str) -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        JobSpec.model_validate(changed(f"{section}.sede".lstrip("."), 1))


def test_every_model_of_a_spec_is_frozen_and_closed() -> None:
    found = models(Spec)
    assert JobSpec in found
    for model in found:
        assert model.model_config["extra"] == "forbid", model
        assert model.model_config["frozen"] is True, model
        assert model.model_config["allow_inf_nan"] is False, model


@pytest.mark.parametrize(
    ("place", "good", "bad"),
    [
        ("method.ratio", [0.001, 0.5, 0.899], [0, -0.1, 0.9, 1, math.nan, math.inf, "half", None]),
        ("method.scope", [["attention_heads"], ["mlp_channels"]], [[], ["layers"], "mlp_channels"]),
        ("method.round_ffn_to", [1, 4096], [0, -64, 4097, 1.5]),
        ("method.lora.rank", [1, 512], [0, 513]),
        ("method.lora.alpha", [0.1], [0, math.inf]),
        ("method.lora.dropout", [0, 0.99], [1, -0.1]),
        ("method.train.steps", [1, None], [0, -1]),
        ("method.train.epochs", [0.1, 1000], [0, 1001, math.nan]),
        ("method.train.learning_rate", [1e-6, 1], [0, 1.1]),
        ("method.train.max_grad_norm", [0.5], [0, math.inf]),
        ("method.train.sequence_length", [8, 10**6], [7, 0]),
        ("method.train.precision", ["auto", "bfloat16"], ["fp8"]),
        ("method.train.micro_batch_size", [1, 8, 16], [0, 3, 32]),
        ("method.schedule.warmup_fraction", [0, 0.09], [0.1, 1, -0.1]),
        ("method.schedule.prune_every_steps", [1, None], [0]),
        ("method.score.ema", [0, 0.99], [1, -0.1]),
        ("method.score.norm", ["l1"], ["l3"]),
        ("evaluation.validation_split", [0.01, 0.49], [0, 0.5]),
        ("evaluation.prompts", [[], ["a"] * 16], [[""], ["a"] * 17]),
        ("output.dtype", ["auto", "float16"], ["int8"]),
        ("output.max_shard_bytes", [1_000_000], [999_999]),
        ("output.repository", [None, "A.b_1-c", "a" * 96], ["", "a/b", "a--b", "-a", "a..b", "a.git", "a" * 97, "ä"]),
        ("output.visibility", ["public"], ["secret", None]),
        ("seed", [0, 2**32 - 1], [-1, 2**32, 1.5]),
        ("name", [None, "a" * 200], ["", "a" * 201]),
        ("metadata", [{}, {"a" * 64: "b" * 512}], [{"a" * 65: "b"}, {"": "b"}, {"a": "b" * 513}, {"a": 1}]),
        ("metadata", [{str(n): "" for n in range(16)}], [{str(n): "" for n in range(17)}]),
        ("base_model.id", ["gpt2", "a/b", "A.b-c/d_e.f"], ["", "a/b/c", "/a", "a/", "a b", "../a", "-a", "x" * 201]),
        ("base_model", [{"source": "s3", "uri": "s3://ab/c"}], [{"source": "s3", "uri": "s3://ab"}]),
        ("base_model", [{"source": "gguf", "path": "/a"}], [{"source": "gguf", "path": ""}, {"source": "ftp"}, "a/b"]),
        ("dataset", [{"source": "hub", "id": "a/b"}], [{"source": "hub"}, {"id": "a/b"}, {"source": "gguf"}]),
    ],
)  # fmt: skip
def test_bounds_hold_at_both_ends(place: str, good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if refused(place, value)] == []
    assert [value for value in bad if not refused(place, value)] == []


def test_a_request_can_be_small() -> None:
    spec = JobSpec.model_validate({key: WHOLE[key] for key in ("base_model", "dataset")} | {
        "method": {"type": "lora_prune", "ratio": 0.3}
    })  # fmt: skip
    assert spec.method.scope == ("attention_heads", "mlp_channels")
    assert spec.evaluation.finetuned_reference is True


def models(kind: type[BaseModel]) -> list[type[BaseModel]]:
    """A model and all that are made of the same clay."""
    return [kind, *(other for child in kind.__subclasses__() for other in models(child))]


def test_a_norm_is_refused_where_no_entries_are_summed() -> None:
    assert refused("method.score", {"norm": "l2"})
    assert refused("method.score", {"norm": "l2", "criterion": "activation"})
    for criterion in ("lora_gradient", "taylor", "magnitude"):
        assert not refused("method.score", {"norm": "l2", "criterion": criterion})
