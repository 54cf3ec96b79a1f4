"""The loss taken from the decoder's answers against the one that each family's own class makes of whole logits."""

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from jobs.families import FAMILIES
from jobs.specs import LoraSpec
from tests.models import random_model
from worker.engine import adapters, distilled_loss, training_loss
from worker.engine.architectures import family
from worker.engine.windows import IGNORED

B, T = 3, 13


def adapted(name: str, **fields: float) -> PreTrainedModel:
    """In float64, with adapters that do something and norms that learn."""
    model, shape = random_model(model_type=name, **fields)
    adapters.attach(model.double(), family(shape), LoraSpec(norms=True), seed=0)
    for parameter_name, parameter in model.named_parameters():
        if "lora_B" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.double().eval()  # some families drop out as they train


def text() -> tuple[Tensor, Tensor]:
    """Windows of which one is not learned at all, and another in part."""
    ids_BT = torch.randint(96, (B, T), generator=torch.Generator().manual_seed(1))
    labels_BT = ids_BT.clone()
    labels_BT[0, 3:6], labels_BT[1] = IGNORED, IGNORED
    return ids_BT, labels_BT


def gradients(model: PreTrainedModel, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: part.grad.clone() for name, part in model.named_parameters() if part.grad is not None}


@pytest.mark.parametrize("name", FAMILIES)
def test_loss_and_gradients_are_those_of_whole_logits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_loss, "TOKENS", 5)
    monkeypatch.setattr(distilled_loss, "CACHED", 2 * 96 // torch.get_num_threads())
    model = adapted(name)
    ids_BT, labels_BT = text()
    seen: list[int] = []
    head = model.get_output_embeddings()
    head.register_forward_hook(lambda _, arguments, __: seen.append(arguments[0].flatten(0, -2).shape[0]))

    loss = training_loss.of(model, ids_BT, labels_BT, 7, bfloat16=False)
    found = gradients(model, loss)
    assert sum(seen) == int((labels_BT[:, 1:] != IGNORED).sum())
    assert max(seen) == 5

    whole = model(input_ids=ids_BT, labels=labels_BT, use_cache=False, num_items_in_batch=7).loss
    expected = gradients(model, whole)
    # Stock classes take the loss in float32 whatever their logits are in.
    torch.testing.assert_close(loss.float(), whole, rtol=1e-6, atol=0)
    assert found.keys() == expected.keys()
    for parameter, gradient in expected.items():
        torch.testing.assert_close(found[parameter], gradient, rtol=1e-4, atol=1e-6, msg=parameter)


def test_capped_logits_stay_capped() -> None:
    """What a family does to its logits is part of the loss, and of the way back."""
    ids_BT, labels_BT = text()
    losses = [
        training_loss.of(adapted("gemma2", final_logit_softcapping=cap), ids_BT, labels_BT, 1, bfloat16=False).item()
        for cap in (1e-6, 30.0)
    ]
    learned = int((labels_BT[:, 1:] != IGNORED).sum())
    assert losses[0] == pytest.approx(learned * torch.tensor(96.0).log().item(), rel=1e-5)
    assert losses[1] != pytest.approx(losses[0], rel=1e-2)


def test_a_batch_that_teaches_nothing_costs_nothing() -> None:
    model = adapted("llama")
    ids_BT, _ = text()
    loss = training_loss.of(model, ids_BT, torch.full_like(ids_BT, IGNORED), 1, bfloat16=False)
    found = gradients(model, loss)
    assert float(loss.detach()) == 0
    assert found
    assert not any(bool(gradient.any()) for gradient in found.values())


def test_products_in_bfloat16_leave_the_loss_in_float32() -> None:
    model = adapted("llama").float()
    ids_BT, labels_BT = text()
    precise, rough = (training_loss.of(model, ids_BT, labels_BT, 1, bfloat16=half) for half in (False, True))
    assert rough.dtype == torch.float32
    assert rough != precise
    assert rough.item() == pytest.approx(precise.item(), rel=0.02)
    assert all(gradient.isfinite().all() for gradient in gradients(model, rough).values())
