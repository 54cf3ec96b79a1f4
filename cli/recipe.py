"""A job as people write it: a YAML or JSON file, options, or both; turned into the specification that is sent.

Beyond the fields of a specification a recipe may say `base_model: org/name`, `dataset: train.jsonl`, or
`{source: upload, path: …}` for a text on this machine.
"""

from collections.abc import Hashable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from jobs.errors import FieldError, InvalidSpec

Recipe = dict[str, Any]

# Where a recipe names a text; `*` is every member of a list.
DATA_FIELDS = (
    ("dataset",),
    ("evaluation", "dataset"),
    ("evaluation", "perplexities", "*", "dataset"),
    ("evaluation", "multiple_choice", "*", "dataset"),
)


def read(file: Path) -> Recipe:
    """The recipe in a file, its relative paths made absolute: they are relative to the file.

    Raises:
        InvalidSpec: it is not a YAML or JSON object, or names a file that does not exist.
    """
    try:
        document = yaml.load(file.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidSpec(f"{file} is neither YAML nor JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidSpec(f"{file} is not an object with keys such as base_model, dataset and method.")
    return with_sources(document, file.parent)


def with_sources(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with short names replaced by the sources they mean, and paths relative to `folder` made absolute."""
    recipe = deepcopy(recipe)
    model = recipe.get("base_model")
    if isinstance(model, str):
        recipe["base_model"] = model_source(model, folder)
    elif isinstance(model, dict):
        _absolute(model, folder)
    for pointer, parent, key in _data_fields(recipe):
        if isinstance(parent[key], str):
            parent[key] = data_source(parent[key], folder, pointer=pointer)
        else:
            _absolute(parent[key], folder)
    return recipe


def assign(recipe: Recipe, assignments: Sequence[tuple[str, Any]]) -> Recipe:
    """The recipe with values set at dotted paths, which are created where they do not exist."""
    recipe = deepcopy(recipe)
    for path, value in assignments:
        *parents, last = path.split(".")
        target = recipe
        for name in parents:
            if target.get(name) is None:
                target[name] = {}
            target = target[name]
            if not isinstance(target, dict):
                raise InvalidSpec(f"{path} cannot be set: {name} is not an object in the recipe.")
        target[last] = value
    return recipe


def merged(recipe: Recipe, changes: Recipe) -> Recipe:
    """The recipe with each field of `changes` in its place; objects are merged, everything else is replaced.

    A source is replaced as a whole: what one kind of source has, another has not.
    """
    result = dict(recipe)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict) and "source" not in value
        result[key] = merged(result[key], value) if both else value
    return result


def parse_assignment(text: str) -> tuple[str, Any]:
    """`key.path=value`, the value as YAML reads it.

    Raises:
        ValueError: it has another form.
    """
    path, equals, value = text.partition("=")
    if not equals or not all(path.split(".")):
        raise ValueError(f"{text!r} is not key.path=value")
    try:
        return path, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ValueError(f"the value of {path} is not YAML: {error}") from error


def model_source(given: str, folder: Path = Path()) -> dict[str, Any]:
    """What a model's short name means: a folder, a GGUF file, an s3:// prefix, `registry:…/…`, or else a hub id.

    The last two may have an `@revision`.
    """
    if given.startswith("registry:"):
        identifier, _, revision = given.removeprefix("registry:").partition("@")
        return {"source": "registry", "id": identifier} | ({"revision": revision} if revision else {})
    if given.startswith("s3://"):
        return {"source": "gguf", "path": given} if given.endswith(".gguf") else {"source": "s3", "uri": given}
    path = folder / Path(given).expanduser()
    if path.is_dir():
        return {"source": "local", "path": str(path.resolve())}
    if given.endswith(".gguf"):
        _must_exist(path, "/base_model")
        return {"source": "gguf", "path": str(path.resolve())}
    if _looks_like_a_path(given) or path.exists():
        what = "is a file" if path.exists() else "does not exist"
        hint = "A model is a folder, a .gguf file, an s3:// prefix or a hub id."
        raise _wrong_path("/base_model", f"{path} {what}.", hint)
    identifier, _, revision = given.partition("@")
    return {"source": "hub", "id": identifier} | ({"revision": revision} if revision else {})


def data_source(given: str, folder: Path = Path(), pointer: str = "/dataset") -> dict[str, Any]:
    """What a text's short name means: an s3:// object, `hub:id[@revision][:split]`, or else a file to upload."""
    if given.startswith("s3://"):
        return {"source": "s3", "uri": given}
    if given.startswith("hub:"):
        name, _, split = given.removeprefix("hub:").partition(":")
        identifier, _, revision = name.partition("@")
        source = {"source": "hub", "id": identifier, "revision": revision, "split": split}
        return {key: value for key, value in source.items() if value}
    path = folder / Path(given).expanduser()
    _must_exist(path, pointer)
    return {"source": "upload", "path": str(path.resolve())}


def uploads(recipe: Recipe) -> Iterator[tuple[Recipe, str, Path]]:
    """The texts to upload first: the object and the key that name each, and its file.

    Raises:
        InvalidSpec: such a text has no path, or its file does not exist.
    """
    for pointer, parent, key in _data_fields(recipe):
        source = parent[key]
        if not isinstance(source, dict) or source.get("source") != "upload":
            continue
        if not isinstance(source.get("path"), str):
            raise _wrong_path(f"{pointer}/path", "An upload needs the path of a file.", "")
        _must_exist(Path(source["path"]), f"{pointer}/path")
        yield parent, key, Path(source["path"])


def moved(data: Recipe, place: Recipe) -> Recipe:
    """A source of data at another place, its other fields kept."""
    return place | {key: value for key, value in data.items() if key not in ("source", "path")}


def _data_fields(recipe: Recipe) -> Iterator[tuple[str, Recipe, str]]:
    """The texts that are named: the pointer to each, and the object and the key that name it."""
    for path in DATA_FIELDS:
        parents: list[tuple[str, Any]] = [("", recipe)]
        for name in path[:-1]:
            parents = [member for pointer, parent in parents for member in _members(pointer, parent, name)]
        for pointer, parent in parents:
            if isinstance(parent, dict) and parent.get(path[-1]) is not None:
                yield f"{pointer}/{path[-1]}", parent, path[-1]


def _members(pointer: str, value: Any, name: str) -> list[tuple[str, Any]]:
    if name == "*":
        return [(f"{pointer}/{place}", member) for place, member in enumerate(value)] if isinstance(value, list) else []
    return [(f"{pointer}/{name}", value.get(name))] if isinstance(value, dict) else []


def _absolute(source: Any, folder: Path) -> None:
    if isinstance(source, dict) and isinstance(path := source.get("path"), str) and not path.startswith("s3://"):
        source["path"] = str((folder / Path(path).expanduser()).resolve())


def _looks_like_a_path(given: str) -> bool:
    return given.startswith((".", "/", "~")) or given.count("/") > 1


def _must_exist(path: Path, pointer: str) -> None:
    if path.is_dir():
        raise _wrong_path(pointer, f"{path} is a folder; a file is needed.", "")
    if not path.is_file():
        hint = "" if pointer == "/base_model" else "A data set on the hub is written hub:ID, one in storage s3://…"
        raise _wrong_path(pointer, f"{path} does not exist.", hint)


def _wrong_path(pointer: str, detail: str, hint: str) -> InvalidSpec:
    error = FieldError(pointer=pointer, code="no_such_file", detail=detail)
    return InvalidSpec("The recipe names what is not there.", hint=hint, errors=(error,))


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that is there twice: one of the two values would be ignored."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    "while reading an object", node.start_mark, f"the key {key!r} is there twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
