"""Narrowing a plan: the lowest scores go, ties keep their order, what is not a number is an error with its place."""

import pytest
import torch

from jobs import errors, widths
from jobs.widths import Widths
from tests.models import random_model
from worker.engine import plan
from worker.engine.architectures import Kind
from worker.engine.plan import Plan


def test_the_lowest_scores_go() -> None:
    _, shape = random_model(intermediate_size=4, num_hidden_layers=1)
    scores = {Kind.KV_GROUP: torch.tensor([[1.0, 2.0]]), Kind.FFN_CHANNEL: torch.tensor([[4.0, 1.0, 3.0, 1.0]])}
    first = plan.narrow(Plan.dense(shape), scores, widths.alike(shape, Widths(kv_groups=2, ffn=3)))
    assert first.layers[0].ffn_channels == (0, 1, 2), "of equal scores the lower index stays"
    left = {Kind.KV_GROUP: torch.tensor([[1.0, 2.0]]), Kind.FFN_CHANNEL: torch.tensor([[1.0, 5.0, 3.0]])}
    second = plan.narrow(first, left, widths.alike(shape, Widths(kv_groups=1, ffn=2)))
    assert second.layers[0].ffn_channels == (1, 2)
    assert second.layers[0].kv_groups == (1,)
    assert Plan.from_json(second.to_json()) == second


def test_a_score_that_is_not_a_number_is_an_error_with_its_place() -> None:
    _, shape = random_model()
    scores = {Kind.KV_GROUP: [torch.ones(2)] * 2, Kind.FFN_CHANNEL: [torch.ones(40), torch.ones(40)]}
    scores[Kind.FFN_CHANNEL][1][7] = float("nan")
    with pytest.raises(errors.ScoreNotFinite, match="ffn_channels in layer 1"):
        plan.narrow(Plan.dense(shape), scores, widths.alike(shape, Widths(1, 24)))
