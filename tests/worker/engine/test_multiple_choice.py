"""Multiple choice against its definition, and against the harness that made it a convention."""

import json
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from jobs import errors
from jobs.rows import ChoiceRow
from jobs.sources import LocalData
from worker.engine import datasets, harness, multiple_choice

QUESTIONS = [
    ChoiceRow("Once upon a time there was a little", ("girl", "stone that could not be lifted", "and the"), 0),
    ChoiceRow("Question: What is a word? ", ("It is what is written here.", "No"), 1),
    ChoiceRow("The end of a statement is", ("a new line", "a semicolon", "nothing at all", "None"), 2),
    ChoiceRow("x " * 400, ("one", "two"), 0),
]


def slow_likelihood(model: torch.nn.Module, context: list[int], whole: list[int]) -> float:
    """One sequence at a time, token by token, in float64."""
    with torch.no_grad():
        log_TV = model(input_ids=torch.tensor([whole])).logits[0].double().log_softmax(dim=-1)
    return sum(float(log_TV[place - 1, whole[place]]) for place in range(len(context), len(whole)))


def test_answers_are_those_of_the_definition(small_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = AutoModelForCausalLM.from_pretrained(small_model, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(small_model)
    monkeypatch.setattr(multiple_choice, "EVALUATION_TOKENS", 48)  # several batches of unequal lengths
    questions = QUESTIONS[:3]
    right, right_norm = 0, 0
    for question in questions:
        context = tokenizer(f"{question.query.rstrip()}\nAnswer:").input_ids
        wholes = [tokenizer(f"{question.query.rstrip()}\nAnswer: {choice}").input_ids for choice in question.choices]
        sums = [slow_likelihood(model, context, whole) for whole in wholes]
        norms = [value / len(choice) for value, choice in zip(sums, question.choices, strict=True)]
        right += max(range(len(sums)), key=sums.__getitem__) == question.gold
        right_norm += max(range(len(norms)), key=norms.__getitem__) == question.gold
        asked = [
            multiple_choice.encode(f"{question.query.rstrip()}\nAnswer: ", choice, tokenizer, 200)
            for choice in question.choices
        ]
        assert multiple_choice.log_likelihoods(model, asked) == pytest.approx(sums, rel=1e-4)
    stripped = [ChoiceRow(question.query.rstrip(), question.choices, question.gold) for question in questions]
    found = multiple_choice.measure(model, tokenizer, stripped, delimiter="\nAnswer: ")
    assert (found.questions, found.acc, found.acc_norm) == (3, right / 3, right_norm / 3)


def test_what_is_too_long_loses_its_beginning(small_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(small_model).eval()
    tokenizer = AutoTokenizer.from_pretrained(small_model)
    longest = model.config.max_position_embeddings
    asked = multiple_choice.encode(QUESTIONS[3].query, "one", tokenizer, longest)
    assert asked.tokens == tokenizer(QUESTIONS[3].query + "one").input_ids[-longest:]
    assert multiple_choice.measure(model, tokenizer, QUESTIONS[3:], delimiter=" ").questions == 1


def test_the_harness_finds_the_same(small_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    model = AutoModelForCausalLM.from_pretrained(small_model).eval()
    tokenizer = AutoTokenizer.from_pretrained(small_model)
    path = tmp_path / "questions.jsonl"
    rows = [{"query": row.query.strip(), "choices": row.choices, "gold": row.gold} for row in QUESTIONS[:3]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "mine",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path)}, "cache_dir": str(tmp_path / "cache")},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "{{query}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "gold",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }
    theirs = harness.measure(model, tokenizer, [task], limit=None, seed=0)["mine"]
    questions = datasets.questions(LocalData(source="local", path=str(path)))
    ours = multiple_choice.measure(model, tokenizer, questions, delimiter=" ")
    assert (ours.acc, ours.acc_norm) == (theirs["acc"], theirs["acc_norm"])
    assert ours.acc_stderr == pytest.approx(theirs["acc_stderr"])


def test_what_the_harness_cannot_do_is_said_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    harness.check(())
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)  # as where the extra is not installed
    with pytest.raises(errors.EvaluationImpossible, match="eval"):
        harness.check(("arc_easy",))


def test_rows_that_are_no_questions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"query": "a", "choices": ["b", "c"], "gold": 2}))
    with pytest.raises(errors.DatasetInvalid, match="shape"):
        datasets.questions(LocalData(source="local", path=str(path)))
    path.write_text(json.dumps({"text": "a"}))
    with pytest.raises(errors.DatasetInvalid, match="gold"):
        datasets.questions(LocalData(source="local", path=str(path)))
