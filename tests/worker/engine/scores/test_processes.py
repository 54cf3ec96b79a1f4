"""Two processes, each with half of the text: the same scores and plans in both, as one process has with all of it."""

import pytest
import torch
from torch import multiprocessing

from jobs.criteria import Criterion
from tests.worker.engine.scores import ranks
from tests.worker.engine.scores.ranks import Result
from tests.worker.engine.scores.steps import adapted_model, assert_close, backward, every_criterion, sequences, start
from worker.engine import plan
from worker.engine.plan import Plan
from worker.engine.scores.running_average import RunningAverage


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(ranks.main, args=(folder,), nprocs=ranks.RANKS)
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=False) for rank in range(ranks.RANKS)]


@every_criterion
def test_both_processes_have_the_same_scores_and_plan_bit_by_bit(criterion: Criterion, results: list[Result]) -> None:
    (mine, first, first_plan), (yours, second, second_plan) = (result[criterion] for result in results)
    assert mine.keys() == yours.keys()
    for name, scores_U in mine.items():  # what the second one would hand on if it were asked, but for rounding
        torch.testing.assert_close(scores_U, yours[name], rtol=1e-5, atol=0)
    assert_close(first, second, rtol=0, atol=0)
    assert first_plan == second_plan


@every_criterion
def test_they_are_those_of_one_process_with_all_the_text(criterion: Criterion, results: list[Result]) -> None:
    model, shape = adapted_model()
    scorer, average = start(model, shape, criterion=criterion), RunningAverage(0.9)
    for _ in range(2):
        backward(model, *sequences(shape.vocab))
        average.add(scorer.take(Plan.dense(shape)))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter -= 0.1 * parameter.grad
        model.zero_grad()
    scorer.close()
    _, found, found_plan = results[0][criterion]
    assert_close(found, average.value(), rtol=1e-3)
    assert found_plan == plan.narrow(Plan.dense(shape), average.value(), ranks.TARGET).to_json()
