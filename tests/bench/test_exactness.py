"""A checkpoint counted against its report."""

import json
from pathlib import Path

import pytest

from bench.exactness import published
from bench.weights import linear_parameters
from tests.models import random_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model, shape = random_model()
    model.save_pretrained(tmp_path)
    change = {"before": 1, "after": 1}
    plan = dict.fromkeys(("query_heads", "kv_heads", "ffn", "parameters"), change) | {
        "layers": shape.layers,
        "ratio": 0.5,
        "block_parameters": {"before": 2 * shape.block_parameters, "after": shape.block_parameters},
    }
    report = {"plan": plan, "merged_logit_difference": 2e-5, "max_abs_logit_difference": 2e-4}
    (tmp_path / "compression_report.json").write_text(json.dumps(report))
    return tmp_path


def test_what_is_in_the_files_is_held_against_the_plan(folder: Path) -> None:
    left = linear_parameters(folder)
    for dense, off in ((None, 0), (2 * left, 0), (2 * left + 3, 3), (2 * left - 3, 3)):
        parameters, cut, reloaded = published(folder, dense)
        assert parameters.value == off
        assert parameters.is_ok == (off == 0)
        assert cut.is_ok
        assert not reloaded.is_ok
