"""Which layers change least what passes through them, by a slow count in float64; the first and the last stay."""

import itertools

import pytest
import torch
from torch.nn import functional

from jobs.memory import CALIBRATION_TOKENS
from tests.models import random_model
from worker.engine.architectures import family
from worker.engine.influence import block_influence, least
from worker.engine.plan import Plan

LENGTH = 20
WINDOWS = CALIBRATION_TOKENS // LENGTH + 7  # more than pass at once


def test_it_is_what_every_token_s_cosine_says() -> None:
    model, shape = random_model(num_hidden_layers=3)
    ids_NT = torch.randint(shape.vocab, (WINDOWS, LENGTH), generator=torch.Generator().manual_seed(2))
    found = block_influence(model, family(shape), ids_NT, bfloat16=False)

    precise = model.double().eval()
    states: list[torch.Tensor] = []
    for block in precise.model.layers:
        block.register_forward_pre_hook(lambda _, given: states.append(given[0]))
    precise.model.norm.register_forward_pre_hook(lambda _, given: states.append(given[0]))
    with torch.no_grad():
        precise(input_ids=ids_NT)
    cosines = [functional.cosine_similarity(*pair, dim=-1).mean() for pair in itertools.pairwise(states)]
    assert found == pytest.approx([1 - float(cosine) for cosine in cosines], rel=1e-4)
    assert max(found) > 1.2 * min(found)


@pytest.mark.parametrize("silent", [1, 2, 3])
def test_a_layer_that_does_nothing_goes_unless_it_is_the_first_or_the_last(silent: int) -> None:
    model, shape = random_model(num_hidden_layers=5)
    with torch.no_grad():
        for place in (0, silent, 4):
            for path in ("self_attn.o_proj", "mlp.down_proj"):
                model.model.layers[place].get_submodule(path).weight.mul_(1e-3)
    ids_NT = torch.randint(shape.vocab, (8, LENGTH), generator=torch.Generator().manual_seed(2))
    influence = block_influence(model, family(shape), ids_NT, bfloat16=False)
    assert set(least(Plan.dense(shape), influence, 1)) == {silent}
    assert len(least(Plan.dense(shape), influence, 2)) == 2
