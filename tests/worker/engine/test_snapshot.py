"""Going back to a snapshot is as if nothing had been cut: weights, gradients, moments, and what comes of them."""

import pytest
import torch

from jobs import widths
from jobs.specs import LoraSpec
from jobs.widths import Widths
from tests.models import random_model
from worker.engine import adapters, plan, surgery
from worker.engine.architectures import Kind, family, units
from worker.engine.plan import Plan
from worker.engine.snapshot import Snapshot


@pytest.mark.parametrize("name", ["llama", "phi3"])
def test_training_goes_on_from_a_snapshot_as_if_nothing_had_been_cut(name: str) -> None:
    losses: dict[bool, list[float]] = {True: [], False: []}
    for cut in losses:
        model, shape = random_model(model_type=name)
        adapters.attach(model, family(shape), LoraSpec(dropout=0.0), seed=0)
        optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-2)
        ids_BT = torch.arange(64).view(2, 32)
        scores = {kind: torch.rand(shape.layers, units(shape, kind)) for kind in Kind}
        for step in range(5):
            optimizer.zero_grad()
            loss = model(input_ids=ids_BT, labels=ids_BT).loss
            loss.backward()
            losses[cut].append(loss.item())
            if cut and step == 2:
                before = {name: parameter.clone() for name, parameter in model.named_parameters()}
                earlier = Snapshot(model, family(shape), optimizer)
                dense = Plan.dense(shape)
                narrow = plan.narrow(dense, scores, widths.alike(shape, Widths(1, 24)))
                surgery.cut(model, family(shape), shape, dense, narrow, optimizer)
                earlier.restore()
                assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())
                assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
            optimizer.step()
    assert losses[True] == losses[False]
    assert losses[True][-1] < losses[True][0]
