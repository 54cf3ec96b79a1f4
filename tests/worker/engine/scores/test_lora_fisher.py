"""With factors that read every direction the estimate is no estimate: what is found is the exact gradient of a mask."""

import torch

from jobs.specs import LoraSpec
from tests.models import random_model
from tests.worker.engine.scores.steps import sequences, start
from worker.engine import adapters
from worker.engine.architectures import Kind, family
from worker.engine.plan import Plan


def test_it_is_the_exact_gradient_as_far_as_the_factors_see() -> None:
    model, shape = random_model()
    adapters.attach(model, family(shape), LoraSpec(rank=64, dropout=0.0), seed=0)  # no matrix has more than 64 inputs
    for block in family(shape).layers(model):
        for path in family(shape).linear:
            a_RI = adapters.factors(block, path).a_RI
            torch.nn.init.orthogonal_(a_RI)
    ids_NT, labels_NT = sequences(shape.vocab)
    scorers = [start(model, shape, criterion=criterion) for criterion in ("lora_fisher", "mask_fisher")]
    model(input_ids=ids_NT[:1], labels=labels_NT[:1]).loss.backward()
    found, exact = (scorer.take(Plan.dense(shape)) for scorer in scorers)

    # Of channels the gate has its say too, so that only what is left of it is like the exact one.
    heads, exact_heads = (torch.cat(scores[Kind.KV_GROUP]) for scores in (found, exact))
    torch.testing.assert_close(heads / heads.norm(), exact_heads / exact_heads.norm(), rtol=1e-3, atol=1e-6)
    for channel_U, exact_U in zip(found[Kind.FFN_CHANNEL], exact[Kind.FFN_CHANNEL], strict=True):
        assert torch.corrcoef(torch.stack([channel_U, exact_U]))[0, 1] > 0.9
    for scorer in scorers:
        scorer.close()
