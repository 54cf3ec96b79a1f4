"""Scoring before the first step: what the steps would have told, and nothing is changed by it."""

import torch
from torch import Tensor

from jobs.criteria import ScoreSpec
from jobs.specs import LoraSpec, TrainSpec
from tests.models import random_model
from worker.engine import adapters, first_scores, scores
from worker.engine.architectures import Kind, family
from worker.engine.plan import Plan
from worker.engine.scores.running_average import RunningAverage
from worker.engine.windows import Windows

SPEC = TrainSpec(batch_size=4, micro_batch_size=2, sequence_length=16, precision="float32")


def windows(count: int) -> Windows:
    ids_NT = torch.randint(96, (count, 16), generator=torch.Generator().manual_seed(0))
    labels_NT = ids_NT.clone()
    labels_NT[::3, :5] = -100
    return Windows(ids_NT, labels_NT)


def test_batches_count_as_steps_and_leave_no_trace() -> None:
    model, shape = random_model()
    fam, plan = family(shape), Plan.dense(shape)
    adapters.attach(model, fam, LoraSpec(dropout=0.0), seed=0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    text = windows(10)  # two batches and a half
    found, expected = RunningAverage(0.9), RunningAverage(0.9)

    scorer = scores.start(model, fam, shape, ScoreSpec(), seed=0)
    first_scores.add(found, model.train(), scorer, plan, text, SPEC)

    assert all(parameter.grad is None for parameter in model.parameters())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    # In which micro-batches a batch comes does not matter.
    for whole in (slice(0, 4), slice(4, 8), slice(8, 10)):
        model(input_ids=text.ids_NT[whole], labels=text.labels_NT[whole]).loss.backward()
        expected.add(scorer.take(plan))
    _assert_same(found, expected)
    scorer.close()


def test_what_cancels_out_in_a_batch_is_read_one_by_one() -> None:
    model, shape = random_model()
    fam, plan = family(shape), Plan.dense(shape)
    adapters.attach(model, fam, LoraSpec(dropout=0.0), seed=0)
    text = windows(3)
    found, expected = RunningAverage(0.9), RunningAverage(0.9)

    scorer = scores.start(model, fam, shape, ScoreSpec(criterion="lora_gradient"), seed=0)
    first_scores.add(found, model.train(), scorer, plan, text, SPEC)

    for alone in (slice(0, 1), slice(1, 2), slice(2, 3)):
        model(input_ids=text.ids_NT[alone], labels=text.labels_NT[alone]).loss.backward()
        expected.add(scorer.take(plan))
        model.zero_grad()
    _assert_same(found, expected)
    scorer.close()


def test_no_windows_leave_the_first_event_to_the_steps_before_it() -> None:
    model, shape = random_model()
    adapters.attach(model, family(shape), LoraSpec(), seed=0)
    average = RunningAverage(0.9)
    scorer = scores.start(model, family(shape), shape, ScoreSpec(), seed=0)
    first_scores.add(average, model.train(), scorer, Plan.dense(shape), windows(10).first(0), SPEC)
    assert average.value() == {}


def _assert_same(found: RunningAverage, expected: RunningAverage) -> None:
    for kind in Kind:
        for score_U, expected_U in zip(found.value()[kind], expected.value()[kind], strict=True):
            _assert_alike(score_U, expected_U)


def _assert_alike(score_U: Tensor, expected_U: Tensor) -> None:
    assert bool(expected_U.any())
    torch.testing.assert_close(score_U, expected_U)
