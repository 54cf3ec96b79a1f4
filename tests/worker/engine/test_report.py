"""The report's published form, and what is drawn from it."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worker.engine import comparison_picture, comparison_table, report, report_page, training_picture, units_picture
from worker.engine.comparison_table import Line
from worker.engine.report import Report

PUBLISHED = Path(__file__).parents[3] / "docs" / "compression_report.schema.json"


def finished(**fields: Any) -> Report:
    """A report of four layers, one of which is gone, the others unequal; little was measured."""
    change = {"before": 4, "after": 3}
    figures = {
        "parameters": 1000,
        "stored_parameters": 1000,
        "bytes": 4000,
        "perplexity": 9.5,
        "prefill_tokens_per_second": None,
        "decode_tokens_per_second": None,
        "prefill_seconds": None,
        "decode_seconds_per_token": None,
        "peak_bytes": None,
    }
    protocol = {
        "name": "held_out",
        "text": "somewhere",
        "windows": 2,
        "window_tokens": 8,
        "predicted_tokens": 14,
        "stride": "none",
        "begin_of_text": "none per window",
        "dtype": "float32",
        "tokenizer": "Tokenizer",
        "adds_begin_of_text": False,
    }
    whole = {
        "base_model": {"name": "<b>base</b>", "revision": None, "licence": None},
        "method": "lora_prune",
        "requested_ratio": 0.3,
        "achieved_ratio": 0.31,
        "plan": {
            "layers": 3,
            "layers_removed": 1,
            "query_heads": change,
            "kv_heads": change,
            "ffn": {"before": 1000, "after": 700},
            "parameters": change,
            "block_parameters": change,
            "ratio": 0.31,
        },
        "dense": figures,
        "dense_finetuned": None,
        "ended_early_at": None,
        "pruned": figures,
        "teacher": None,
        "perplexity_change": 0.0,
        "perplexity_limit": None,
        "perplexity_protocol": protocol,
        "perplexities": [],
        "agreement": None,
        "tasks": {},
        "benchmark": None,
        "merged_logit_difference": 0.0,
        "max_abs_logit_difference": 0.0,
        "loads_with": {"transformers": "5", "torch": "2", "greedy_tokens": 8},
        "versions": {"python": "3"},
        "samples": [{"prompt": "<script>", "dense": "a", "pruned": "b"}],
        "seconds": {},
        "history": {
            "steps": [
                {"step": number, "phase": phase, "loss": 3.0 - number / 100, "sparsity": sparsity}
                for number, (phase, sparsity) in enumerate(
                    [("reference_tuning", 0.0)] * 3 + [("scoring", 0.0)] * 2 + [("pruning", 0.31)], start=1
                )
            ],
            "prunes": [{"step": 6, "sparsity": 0.31, "layers": 3, "kv_groups": 3, "ffn_channels": 700}],
        },
        "kept": [
            {"index": 0, "kv_groups": [0, 1, 2, 3], "ffn_channels": list(range(1000))},
            {"index": 1, "kv_groups": [2], "ffn_channels": list(range(0, 1000, 2))},
            {"index": 3, "kv_groups": [0, 3], "ffn_channels": list(range(100))},
        ],
    }
    return Report.model_validate(whole | fields)


def test_the_published_schema_is_that_of_the_code() -> None:
    renew = "renew it: python -m worker.engine.report > docs/compression_report.schema.json"
    assert PUBLISHED.read_text(encoding="utf-8") == report.schema(), renew
    assert finished().summary().keys() == json.loads(report.schema())["properties"].keys() - report.LONGEST


def test_the_page_holds_all_it_shows_and_what_it_is_told_is_only_text() -> None:
    page = report_page.text(finished(), "a <i>title</i>")
    assert "&lt;b&gt;base&lt;/b&gt;" in page
    assert "a &lt;i&gt;title&lt;/i&gt;" in page
    assert not re.search(r"<(script|link|iframe|b>base|i>title)", page)
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(link.startswith(("#", "data:")) for link in links)
    assert re.findall(r"url\((?!#)[^)]*\)", page) == []


def test_the_map_of_units_shows_every_layer_of_the_base_model() -> None:
    figure = units_picture.draw(finished())
    groups, channels = (axes.images[0].get_array() for axes in figure.axes[:2])
    assert groups is not None
    assert channels is not None
    assert groups.tolist() == [[1, 1, 1, 1], [0, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 1]]
    assert channels.shape == (4, units_picture.COLUMNS)
    assert channels[0].min() == 1
    assert channels[1].mean() == pytest.approx(0.5, abs=0.02)
    assert [patch.get_hatch() for patch in figure.axes[0].patches] == ["xxxx"], "the layer that is gone"


def measured() -> Report:
    """A report with three models' perplexities, and two models' speeds."""
    figures = finished().dense.model_dump()
    return finished(
        dense=figures | {"perplexity": 10.0, "prefill_tokens_per_second": 100.0},
        dense_finetuned={"perplexity": 8.0, "dtype": "float32"},
        pruned=figures | {"parameters": 750, "perplexity": 12.5, "prefill_tokens_per_second": 250.0},
        tasks={"piqa": {"acc": {"dense": 0.7, "pruned": 0.6}, "acc_stderr": {"dense": 0.01, "pruned": 0.02}}},
    )


def test_the_table_says_what_each_model_has_and_what_changed() -> None:
    lines = {line.name: line for line in comparison_table.figures(measured())}
    assert lines["parameters"] == Line("parameters", "1,000", "", "750", "−25.0 %")
    assert lines["with padding"] == Line("with padding", "1,000", "", "1,000", "+0.0 %")
    assert lines["perplexity, held-out text"] == Line("perplexity, held-out text", "10.00", "8.00", "12.50", "+25.0 %")
    assert lines["prefill, tokens/s"] == Line("prefill, tokens/s", "100", "", "250", "+150.0 %")
    assert "decode, tokens/s" not in lines, "which was not measured"
    (task,) = comparison_table.tasks(measured())
    assert task == Line("piqa, acc", "0.700 ± 0.010", "", "0.600 ± 0.020", "")


def test_a_bar_is_as_long_as_its_value_is_of_its_rows_largest() -> None:
    size, speed, quality = comparison_picture.draw(measured()).axes
    bars = {axes.get_title(): [patch.get_width() for patch in axes.patches] for axes in (size, speed, quality)}  # type: ignore[attr-defined]
    assert bars["Size"][:2] == [1, 0.75]
    assert bars["Speed"] == [0.4, 1]
    assert bars["Quality"][:3] == pytest.approx([0.8, 0.64, 1])
    words = [text.get_text() for text in quality.texts]
    assert words == ["perplexity, lower is better", "10.00", "8.00", "12.50", "piqa, acc", "70.0 %", "60.0 %"]


def test_a_column_is_the_part_kept_of_its_units() -> None:
    assert units_picture.cells([1, 3], 4).tolist() == [0, 1, 0, 1]
    kept = sorted(np.random.default_rng(0).choice(960, 400, replace=False).tolist())
    assert units_picture.cells(kept, 960).mean() == pytest.approx(400 / 960)


def test_both_runs_start_at_their_own_first_step() -> None:
    losses, sparsity = training_picture.draw(finished()).axes
    assert [line.get_xdata().tolist() for line in losses.lines if len(line.get_xdata()) == 3] == [[1, 2, 3]] * 2  # type: ignore[union-attr]
    marks = sparsity.lines[-1]
    assert (list(marks.get_xdata()), list(marks.get_ydata())) == ([3], [31.0])  # type: ignore[arg-type]
    assert training_picture.running_mean([1, 2, 3, 4], 2) == [1, 1.5, 2.5, 3.5]


def test_a_loss_with_a_teachers_part_is_not_drawn_as_that_of_text_alone() -> None:
    taught = finished(teacher={"answers": "cached", "weight": 0.25, "temperature": 2.0})
    drawn = [training_picture.draw(done).legends[0].texts for done in (finished(), taught)]
    of_text, of_both = ([text.get_text() for text in texts] for texts in drawn)
    assert of_text == ["dense, fine-tuned alike", "pruned", "cut"]
    assert "temperature 2.0" in report_page.text(taught, "").replace("\n", " ")
    assert "learned from the dense one" not in report_page.text(finished(), "")
    assert of_both == ["dense, fine-tuned alike", "pruned (its teacher weighs 25% in this loss)", "cut"]
