"""One optimizer step's worth of text through a small model with adapters, and what a criterion makes of it."""

from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from jobs.criteria import Criterion, ScoreSpec
from jobs.shapes import ModelShape
from jobs.specs import LoraSpec
from tests.models import random_model
from worker.engine import adapters, scores
from worker.engine.architectures import family
from worker.engine.plan import Plan, Scores
from worker.engine.scores.scorer import Scorer
from worker.engine.windows import IGNORED

SEQUENCES = 4

every_criterion = pytest.mark.parametrize("criterion", get_args(Criterion))


def sequences(vocab: int) -> tuple[Tensor, Tensor]:
    """Ids and labels, (N, T); each sequence has another number of tokens that are learned."""
    ids_NT = torch.randint(vocab, (SEQUENCES, 20), generator=torch.Generator().manual_seed(0))
    labels_NT = ids_NT.clone()
    for row, labels_T in enumerate(labels_NT):
        labels_T[: 4 * row] = IGNORED
    return ids_NT, labels_NT


def adapted_model(**fields: Any) -> tuple[PreTrainedModel, ModelShape]:
    """A random model whose adapters have learned something."""
    model, shape = random_model(**fields)
    adapters.attach(model, family(shape), LoraSpec(rank=3, dropout=0.0, norms=True), seed=0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model, shape


def start(model: PreTrainedModel, shape: ModelShape, **spec: Any) -> Scorer:
    """A scorer at work on the model."""
    return scores.start(model, family(shape), shape, ScoreSpec.model_validate(spec), seed=0)


def backward(
    model: PreTrainedModel, ids_NT: Tensor, labels_NT: Tensor, *, micro_batch: int = SEQUENCES, scale: float = 1.0
) -> None:
    """The loss of one step, divided as the Trainer divides it: by the learned tokens of the whole batch."""
    learned = (labels_NT[:, 1:] != IGNORED).sum()
    for ids_BT, labels_BT in zip(ids_NT.split(micro_batch), labels_NT.split(micro_batch), strict=True):
        loss = model(input_ids=ids_BT, labels=labels_BT, num_items_in_batch=learned).loss
        (loss * scale).backward()


def scored(
    model: PreTrainedModel, shape: ModelShape, micro_batch: int = SEQUENCES, scale: float = 1.0, **spec: Any
) -> Scores:
    """The scores of one step of the model as it is."""
    scorer = start(model, shape, **spec)
    model.zero_grad()
    backward(model, *sequences(shape.vocab), micro_batch=micro_batch, scale=scale)
    found = scorer.take(Plan.dense(shape))
    scorer.close()
    return found


def assert_close(found: Scores, expected: Scores, *, rtol: float = 1e-4, atol: float = 1e-6) -> None:
    """Kind by kind, layer by layer."""
    assert list(found) == list(expected)
    for kind, layers in found.items():
        precise = [[score_U.double() for score_U in side] for side in (layers, expected[kind])]
        torch.testing.assert_close(*precise, rtol=rtol, atol=atol)
