"""Perplexity against its definition."""

import math

import pytest
import torch

from jobs import errors
from tests.models import random_model
from worker.engine.evaluation import perplexity
from worker.engine.windows import IGNORED, Windows


def test_perplexity_is_its_definition_in_float64() -> None:
    model, shape = random_model()
    ids_NT = torch.randint(shape.vocab, (5, 12), generator=torch.Generator().manual_seed(0))
    labels_NT = ids_NT.clone()
    labels_NT[1, :7] = IGNORED
    total, count = 0.0, 0
    with torch.no_grad():
        for ids_T, labels_T in zip(ids_NT[:4], labels_NT[:4], strict=True):
            log_p_TV = model.double()(input_ids=ids_T[None]).logits[0].log_softmax(dim=-1)
            for position in range(11):
                if labels_T[position + 1] != IGNORED:
                    total -= float(log_p_TV[position, labels_T[position + 1]])
                    count += 1
    found = perplexity(model.float(), Windows(ids_NT, labels_NT), max_windows=4)
    assert found == pytest.approx(math.exp(total / count), rel=1e-5)


def test_a_model_that_knows_nothing_is_as_perplexed_as_its_vocabulary_is_large() -> None:
    model, shape = random_model()
    torch.nn.init.zeros_(model.get_output_embeddings().weight)
    ids_NT = torch.randint(shape.vocab, (2, 16))
    assert perplexity(model, Windows(ids_NT, ids_NT), 10) == pytest.approx(shape.vocab, rel=1e-5)


def test_an_answer_that_is_not_a_number_is_an_error() -> None:
    model, shape = random_model()
    torch.nn.init.constant_(model.get_output_embeddings().weight, float("nan"))
    ids_NT = torch.randint(shape.vocab, (2, 16))
    with pytest.raises(errors.LossNotFinite):
        perplexity(model, Windows(ids_NT, ids_NT), 10)
