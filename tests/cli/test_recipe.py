"""From what people write to what is sent."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli import recipe
from cli.recipe_options import with_recipe
from cli.validation import check
from jobs.errors import InvalidSpec


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    (tmp_path / "train.jsonl").write_text('{"text": "hello"}\n')
    return tmp_path


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ("org/name", {"source": "hub", "id": "org/name"}),
        ("org/name@v1", {"source": "hub", "id": "org/name", "revision": "v1"}),
        ("gpt2", {"source": "hub", "id": "gpt2"}),
        ("model", {"source": "local", "path": "{folder}/model"}),
        ("./model", {"source": "local", "path": "{folder}/model"}),
        ("model.gguf", {"source": "gguf", "path": "{folder}/model.gguf"}),
        ("s3://bucket/prefix", {"source": "s3", "uri": "s3://bucket/prefix"}),
        ("s3://bucket/a.gguf", {"source": "gguf", "path": "s3://bucket/a.gguf"}),
    ],
)
def test_a_model_is_known_by_its_name(given: str, source: dict[str, str], folder: Path) -> None:
    expected = {key: value.format(folder=folder) for key, value in source.items()}
    assert recipe.model_source(given, folder) == expected


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ("train.jsonl", {"source": "upload", "path": "{folder}/train.jsonl"}),
        ("hub:org/text", {"source": "hub", "id": "org/text"}),
        ("hub:org/text@main:test", {"source": "hub", "id": "org/text", "revision": "main", "split": "test"}),
        ("s3://bucket/train.jsonl", {"source": "s3", "uri": "s3://bucket/train.jsonl"}),
    ],
)
def test_a_text_is_known_by_its_name(given: str, source: dict[str, str], folder: Path) -> None:
    expected = {key: value.format(folder=folder) for key, value in source.items()}
    assert recipe.data_source(given, folder) == expected


@pytest.mark.parametrize("given", ["./nowhere", "/nowhere/at/all", "nowhere.gguf", "train.jsonl", "a/b/c"])
def test_a_model_that_is_not_there_is_refused(given: str, folder: Path) -> None:
    with pytest.raises(InvalidSpec) as caught:
        recipe.model_source(given, folder)
    assert caught.value.errors[0].pointer == "/base_model"


def test_paths_of_a_recipe_are_relative_to_its_file(folder: Path) -> None:
    file = folder / "recipe.yaml"
    file.write_text("base_model: model\ndataset: {source: upload, path: train.jsonl, max_samples: 3}\n")
    assert recipe.read(file) == {
        "base_model": {"source": "local", "path": f"{folder}/model"},
        "dataset": {"source": "upload", "path": f"{folder}/train.jsonl", "max_samples": 3},
    }


def test_every_text_of_a_recipe_may_be_a_file(folder: Path) -> None:
    found = recipe.with_sources(
        {"evaluation": {"multiple_choice": [{"name": "a"}, {"dataset": "train.jsonl"}]}}, folder
    )
    ((_, _, path),) = recipe.uploads(found)
    assert path == folder / "train.jsonl"
    with pytest.raises(InvalidSpec) as caught:
        recipe.with_sources({"evaluation": {"perplexities": [{"dataset": "nowhere.txt"}]}}, folder)
    assert caught.value.errors[0].pointer == "/evaluation/perplexities/0/dataset"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: 1\na: 2", "there twice"),
        ("[1, 2]", "not an object"),
        ("a: [", "neither YAML nor JSON"),
        ("\x00", "neither"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(content: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(content)
    with pytest.raises(InvalidSpec, match=words):
        recipe.read(file)


def test_options_replace_what_the_file_says(folder: Path) -> None:
    file = folder / "recipe.json"
    file.write_text(json.dumps({"base_model": "org/name", "method": {"ratio": 0.5, "train": {"epochs": 1}}, "seed": 1}))
    made: list[dict[str, Any]] = []

    @with_recipe
    def take(recipe: dict[str, Any]) -> None:
        made.append(recipe)

    take(
        file=file,
        model=None,
        data=str(folder / "train.jsonl"),
        eval_data="hub:org/text",
        ratio=0.3,
        steps=7,
        name="mine",
        method=None,
        repository=None,
        public=False,
        assignments=(recipe.parse_assignment("method.scope=[mlp_channels]"), recipe.parse_assignment("seed=3")),
    )
    assert made == [
        {
            "base_model": {"source": "hub", "id": "org/name"},
            "method": {
                "type": "lora_prune",
                "ratio": 0.3,
                "scope": ["mlp_channels"],
                "train": {"epochs": 1, "steps": 7},
            },
            "seed": 3,
            "dataset": {"source": "upload", "path": str(folder / "train.jsonl")},
            "evaluation": {"dataset": {"source": "hub", "id": "org/text"}},
            "name": "mine",
        }
    ]


def test_changes_are_merged_field_by_field_but_a_source_as_a_whole() -> None:
    given = {
        "base_model": {"source": "hub", "id": "org/name"},
        "method": {"ratio": 0.3, "train": {"steps": 60}},
        "seed": 1,
    }
    changes = {"base_model": {"source": "local", "path": "/model"}, "method": {"train": {"batch_size": 2}}}
    assert recipe.merged(given, changes) == {
        "base_model": {"source": "local", "path": "/model"},
        "method": {"ratio": 0.3, "train": {"steps": 60, "batch_size": 2}},
        "seed": 1,
    }


def test_every_wrong_field_is_named_by_its_place() -> None:
    wrong = {
        "base_model": {"source": "hub"},
        "dataset": {"source": "nowhere"},
        "method": {"type": "lora_prune", "ratio": 0.95, "train": {"stepz": 1}, "scope": ["heads"]},
        "metadata": {"a/b": 1},
    }
    with pytest.raises(InvalidSpec) as caught:
        check(wrong)
    pointers = {error.pointer for error in caught.value.errors}
    assert {"/base_model/id", "/method/ratio", "/method/train/stepz", "/method/scope/0", "/metadata/a~1b"} < pointers
    assert any(pointer.startswith("/dataset") for pointer in pointers)
