"""The estimate against what a real model really holds, and a job that does not fit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from jobs import errors, goals, memory
from jobs.memory import Estimate
from jobs.outputs import OutputSpec
from jobs.specs import DistillationSpec, JobSpec
from tests.models import random_model
from tests.worker.engine.test_pipeline import run, spec_for
from worker.engine import adapters, capacity, casting, quantised
from worker.engine.architectures import family
from worker.engine.casting import CastLinear

FIELDS = {"vocab_size": 64, "hidden_size": 128, "intermediate_size": 384, "num_attention_heads": 8, "head_dim": 16}


def asked(**train: Any) -> JobSpec:
    steps = {"steps": 1, "batch_size": 4, "sequence_length": 64, "precision": "float32"}
    return spec_for(Path("model"), Path("text"), method={"train": steps | train})


def estimated(spec: JobSpec, stored: str = "float32") -> Estimate:
    _, shape = random_model(**FIELDS)
    return memory.estimate(replace(shape, dtype=stored), spec, accelerator=False)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_activations_are_what_autograd_keeps(precision: str) -> None:
    model, shape = random_model(**FIELDS)
    spec = asked(precision=precision)
    if precision == "bfloat16":
        casting.cast_once(model, family(shape))
    adapters.attach(model, family(shape), spec.method.lora, seed=0)
    own = {part.untyped_storage().data_ptr() for part in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    ids_BT = torch.randint(shape.vocab, (4, 64))
    decoder = model.train().get_decoder()
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"),
    ):
        output = decoder(input_ids=ids_BT, use_cache=False).last_hidden_state
    found = sum(part.untyped_storage().nbytes() for place, part in kept.items() if place not in own)
    if precision == "bfloat16":
        found += sum(layer.full(torch.bfloat16).nbytes for layer in decoder.modules() if isinstance(layer, CastLinear))
    assert output.requires_grad
    assert estimated(spec).activations == pytest.approx(found, rel=0.25)


def test_weights_and_adapters_are_counted_to_the_byte() -> None:
    for precision in ("full", "int8", "nf4"):
        model, shape = random_model(**FIELDS)
        spec = asked(base_precision=precision)
        if precision != "full":
            quantised.quantise(model, family(shape), precision, torch.device("cpu"))  # type: ignore[arg-type]
        held = {part.untyped_storage().data_ptr(): part.untyped_storage().nbytes() for part in model.parameters()}
        held |= {
            part.data_ptr(): part.nbytes for name, part in model.named_buffers() if name.endswith(quantised.STORED)
        }
        assert estimated(spec).weights == sum(held.values())
        adapters.attach(model, family(shape), spec.method.lora, seed=0)
        factors = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        assert estimated(spec).adapters == memory.BYTES_PER_FACTOR * factors


def test_each_switch_that_a_refusal_names_makes_the_job_smaller() -> None:
    plain = estimated(asked())
    for smaller in ({"micro_batch_size": 1}, {"sequence_length": 32}, {"gradient_checkpointing": True}):
        assert estimated(asked(**smaller)).training < plain.training
    assert estimated(asked(base_precision="nf4")).weights < estimated(asked(base_precision="int8")).weights
    assert estimated(asked(precision="auto"), stored="bfloat16").weights == plain.weights // 2
    _, shape = random_model(**FIELDS, num_hidden_layers=8)
    shared, whole = (
        memory.estimate(shape, asked(shard_base=sharded), accelerator=True, processes=4) for sharded in (True, False)
    )
    assert shared.weights < whole.weights


def test_what_the_spec_leaves_open_follows_the_device() -> None:
    _, shape = random_model(**FIELDS)
    stored = replace(shape, dtype="bfloat16")
    for said, quick, as_if in (("auto", False, "float32"), ("auto", True, "bfloat16"), ("bfloat16", False, "bfloat16")):
        found = memory.estimate(stored, asked(precision=said), accelerator=False, bfloat16=quick)
        assert found == memory.estimate(stored, asked(precision=as_if), accelerator=False)


def test_logits_are_never_those_of_a_whole_batch() -> None:
    _, shape = random_model(**FIELDS)
    longer = asked(sequence_length=4096)
    assert memory.estimate(shape, longer, accelerator=False).logits == 256 * shape.vocab * memory.BYTES_PER_LOGIT


def test_a_graph_is_traced_in_the_memory_of_the_host() -> None:
    _, shape = random_model(**FIELDS)
    spec = asked().model_copy(update={"output": OutputSpec(formats=("onnx",))})
    traced, plain = (memory.estimate(shape, one, accelerator=False) for one in (spec, asked()))
    kept = shape.parameters - round(goals.wanted(shape, spec))
    assert (traced.conversion, plain.conversion) == (16 * kept, 0)
    beside, without = (memory.estimate(shape, one, accelerator=True) for one in (spec, asked()))
    assert (beside.conversion, beside.host) == (0, memory.PROCESS + 16 * kept)
    assert without.host == memory.PROCESS + max(4 * kept, 4 * shape.parameters)
    assert plain.host == 0
    capacity.check(beside, beside.peak, beside.host)
    with pytest.raises(errors.DoesNotFit, match="of main memory"):
        capacity.check(beside, beside.peak, beside.host - 1)
    large = replace(traced, conversion=100 * traced.peak)
    with pytest.raises(errors.DoesNotFit, match="Leave onnx out"):
        capacity.check(large, traced.peak, traced.peak)


def test_a_teacher_that_does_not_fit_may_note_its_answers() -> None:
    spec = asked()
    online = spec.method.model_copy(update={"distillation": DistillationSpec(mode="online")})
    found = estimated(spec.model_copy(update={"method": online}))
    with pytest.raises(errors.DoesNotFit, match=r"distillation\.mode: cached.*tokens_per_channel"):
        capacity.check(found, found.peak - 1, found.peak)
    with pytest.raises(errors.DoesNotFit) as refused:
        capacity.check(plain := estimated(spec), plain.peak - 1, plain.peak)
    assert "distillation" not in refused.value.hint


def test_a_job_that_does_not_fit_is_refused_before_any_work(
    small_model: Path, small_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "available", lambda: 100_000_000)
    with pytest.raises(errors.DoesNotFit, match=r"0\.10 GB are free"):
        run(spec_for(small_model, small_text), tmp_path)
    assert not (tmp_path / "model").exists()


def test_this_machine_has_memory() -> None:
    assert capacity.available() > 100_000_000
