"""What learns beside the factors: the norms, which stand aside again when a run is over."""

from pathlib import Path

import pytest
import torch

from jobs.families import FAMILIES
from jobs.specs import LoraSpec
from tests.models import random_model
from tests.worker.engine.runs import prune, spec_of
from tests.worker.engine.test_surgery import probe
from worker.engine import adapters, base_models, verification
from worker.engine.architectures import family


@pytest.mark.parametrize("name", FAMILIES)
def test_norms_of_every_family_learn_and_stand_aside_again(name: str) -> None:
    model, shape = random_model(model_type=name)
    before, ids_BT = {key: tensor.clone() for key, tensor in model.state_dict().items()}, probe(shape.vocab)
    paths = adapters.norms(model)
    words = FAMILIES[name]
    assert len(paths) == shape.layers * (words.norms + words.head_norms) + 1
    adapted = adapters.attach(model, family(shape), LoraSpec(norms=True), seed=0)
    whole_BTV = verification.answers(model, ids_BT)
    model(input_ids=ids_BT, labels=ids_BT).loss.backward()
    for key, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.dim() == 1:
            assert parameter.grad is not None, key
            parameter.data -= 0.1 * parameter.grad.sign()

    state = adapters.merged_state(model, family(shape))
    assert state.keys() == before.keys()
    changed = {key for key, tensor in state.items() if not torch.equal(tensor, before[key])}
    assert {f"{path}.weight" for path in paths} <= changed <= {f"{path}.{end}" for path in paths for end in ENDS}
    assert not torch.equal(verification.answers(model, ids_BT), whole_BTV)

    plain = adapters.detach(adapted)
    assert plain.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[key]) for key, tensor in plain.state_dict().items())


ENDS = ("weight", "bias")


@pytest.mark.parametrize("norms", [True, False])
def test_norms_learn_if_they_are_to(small_model: Path, tmp_path: Path, norms: bool) -> None:
    spec = spec_of(lora={"dropout": 0.0, "norms": norms}, train={"steps": 4}, reconstruction={"enabled": False})
    state = prune(small_model, spec, tmp_path).state
    dense = adapters.norms(model := untouched(small_model))
    assert all(torch.equal(state[f"{path}.weight"], model.get_parameter(f"{path}.weight")) != norms for path in dense)


def untouched(folder: Path) -> torch.nn.Module:
    """The untouched model."""
    return base_models.open_folder(folder).load(torch.float32)
