"""Weights that two processes hold together: each a part, and all that is done with them as if they were whole."""

from typing import Any

import pytest
import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn import functional

from cli.stack.ports import free_block
from jobs import memory, widths
from jobs.criteria import Criterion
from jobs.families import FAMILIES
from jobs.specs import LoraSpec
from jobs.widths import Widths
from tests.models import random_model
from tests.worker.engine import two_processes
from tests.worker.engine.scores.steps import assert_close, backward, every_criterion, sequences, start
from tests.worker.engine.test_memory_estimate import FIELDS, asked
from worker.engine import adapters, compensated_cut, plan, ranks, sharded, surgery
from worker.engine.architectures import Kind, family, units
from worker.engine.plan import Plan
from worker.engine.sharded import ShardedLinear

CPU = torch.device("cpu")


def draw(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def test_two_processes_hold_half_each() -> None:
    (port,) = free_block(1)
    multiprocessing.spawn(share, args=(port,), nprocs=two_processes.PROCESSES)


def share(rank: int, port: int) -> None:
    """One of the two."""
    two_processes.meet(rank, port)
    weight_OI = draw(5, 7)
    layer = ShardedLinear(weight_OI, nn.Parameter(draw(5, seed=1)))
    assert (len(layer.part), layer.weight.numel()) == (18, 0), "35 entries, the last one filled up"
    assert torch.equal(layer.present(), weight_OI)

    inputs = draw(3, 7, seed=2).requires_grad_()
    outputs = layer(inputs)
    torch.testing.assert_close(outputs, functional.linear(inputs, weight_OI, layer.bias))
    outputs.sum().backward()
    torch.testing.assert_close(inputs.grad, weight_OI.sum(dim=0).expand(3, 7))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(inputs).dtype == torch.bfloat16

    with layer.whole():
        layer.weight.data = layer.weight.data[1:4] + 1
    assert (len(layer.part), layer.weight.numel()) == (11, 0)
    assert torch.equal(layer.present(), weight_OI[1:4] + 1)

    model, shape = random_model(**FIELDS)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sharded.shard(model, family(shape), CPU)
    held = sum(part.nbytes for part in model.parameters()) + sum(
        layer.part.nbytes for layer in model.modules() if isinstance(layer, ShardedLinear)
    )
    estimate = memory.estimate(shape, asked(shard_base=True), accelerator=False, processes=2)
    assert estimate.weights == held + 2 * 4 * shape.hidden * shape.ffn
    sharded.reunite(model)
    if ranks.is_first():
        torch.testing.assert_close(dict(model.state_dict()), expected, rtol=0, atol=0)
    distributed.destroy_process_group()


def adapted(name: str, *, shard: bool, **fields: Any) -> Any:
    model, shape = random_model(model_type=name, **fields)
    if shard:
        sharded.shard(model, family(shape), CPU)
    adapters.attach(model, family(shape), LoraSpec(rank=3, dropout=0.0), seed=0)
    for path, parameter in model.named_parameters():
        if "lora_B" in path:
            nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(len(path)))
    return model.eval(), shape


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "gpt2"])
@pytest.mark.parametrize("remove", [surgery.cut_block, surgery.silence_block])
def test_a_mended_cut_is_that_of_whole_weights(name: str, remove: surgery.RemoveUnits) -> None:
    states = []
    for shard in (False, True):
        model, shape = adapted(name, shard=shard)
        fam, dense, generator = family(shape), Plan.dense(shape), torch.Generator().manual_seed(1)
        scores = {kind: [torch.rand(units(shape, kind), generator=generator) for _ in range(shape.layers)]
                  for kind in fam.kinds}  # fmt: skip
        groups = 1 if Kind.KV_GROUP in fam.kinds else shape.kv_heads
        after = plan.narrow(dense, scores, widths.alike(shape, Widths(groups, shape.ffn // 2)))
        ids_NT = torch.randint(shape.vocab, (16, 24), generator=generator)
        case = model, fam, shape, dense, after, None
        compensated_cut.cut(*case, ids_NT, bfloat16=False, remove=remove, aim="stream")
        sharded.reunite(model)
        states.append(adapters.merged_state(model, fam))
    whole, parts = states
    torch.testing.assert_close(parts, whole, rtol=0, atol=0)


@every_criterion
def test_scores_are_those_of_whole_weights(criterion: Criterion) -> None:
    found = []
    for shard in (False, True):
        model, shape = adapted("llama", shard=shard)
        scorer = start(model.train(), shape, criterion=criterion)
        backward(model, *sequences(shape.vocab))
        found.append(scorer.take(Plan.dense(shape)))
        scorer.close()
    assert_close(found[1], found[0])
