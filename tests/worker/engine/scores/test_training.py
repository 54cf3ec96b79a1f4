"""Scores under the real Trainer: how a batch is cut into micro-batches does not matter, whatever is learned of each."""

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from jobs.criteria import Criterion
from jobs.specs import LoraSpec, TrainSpec
from tests.models import random_model
from tests.worker.engine.scores.steps import assert_close, every_criterion, sequences, start
from worker.engine import adapters, training
from worker.engine.architectures import family
from worker.engine.plan import Plan, Scores
from worker.engine.reporter import Reporter
from worker.engine.scores.scorer import Scorer
from worker.engine.windows import Windows


class Taker(TrainerCallback):
    """Takes the scores of the one step."""

    def __init__(self, scorer: Scorer, plan: Plan) -> None:
        self._scorer = scorer
        self._plan = plan
        self.found: Scores = {}

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        self.found = self._scorer.take(self._plan)


def step(criterion: Criterion, micro_batch: int, work: Path) -> Scores:
    """One step of the Trainer, its gradients clipped to next to nothing."""
    model, shape = random_model()
    adapted = adapters.attach(model, family(shape), LoraSpec(dropout=0.0), seed=0)
    taker = Taker(start(model, shape, criterion=criterion), Plan.dense(shape))
    reporter = Reporter(lambda event: None)
    reporter.training(1, 0.5)
    ids_NT, labels_NT = sequences(shape.vocab)
    spec = TrainSpec(
        steps=1,
        batch_size=len(ids_NT),
        micro_batch_size=micro_batch,
        sequence_length=ids_NT.shape[1],
        precision="float32",
        max_grad_norm=1e-3,
    )
    training.train(adapted, Windows(ids_NT, labels_NT), spec, seed=0, folder=work, reporter=reporter, callbacks=[taker])
    return taker.found


@every_criterion
def test_micro_batches_do_not_matter(criterion: Criterion, tmp_path: Path) -> None:
    assert_close(step(criterion, 1, tmp_path), step(criterion, 4, tmp_path))
