"""The dense model as a teacher that is listened to while another one learns."""

import pytest
import torch

from jobs.families import FAMILIES
from tests.models import random_model
from worker.engine.teachers import OnlineTeacher


@pytest.mark.parametrize("name", FAMILIES)
def test_it_believes_what_its_family_answers_in_its_own_dtype(name: str) -> None:
    model, _ = random_model(model_type=name)
    model = model.double().eval()
    ids_BT = torch.randint(96, (3, 13), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        answers_BTV = model(input_ids=ids_BT).logits
    places = [torch.tensor([0, 5, 11]), torch.arange(13), torch.tensor([7])]

    with torch.autocast("cpu", torch.bfloat16):  # as the student may compute
        said = OnlineTeacher(model)(ids_BT, None)
        believed = [one.at(place_t).logits_TV for one, place_t in zip(said, places, strict=True)]

    for logits_tV, answer_TV, place_t in zip(believed, answers_BTV, places, strict=True):
        torch.testing.assert_close(logits_tV, answer_TV[place_t], rtol=1e-12, atol=1e-12)
        assert not logits_tV.requires_grad
