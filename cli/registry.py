"""Models and their versions, through the service's HTTP API."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from cli.client import Client
from cli.resources import Resource

MODELS = "/v1/models"


class Model(Resource):
    """A repository of a project."""

    id: str
    namespace: str
    name: str
    visibility: str
    description: str | None = None
    downloads: int = 0
    deprecation: str | None = None
    deleted_at: datetime | None = None
    updated_at: datetime

    @property
    def place(self) -> str:
        return f"{self.namespace}/{self.name}"


class Lineage(Resource):
    """Where a version comes from."""

    base_model: str | None = None
    base_revision: str | None = None
    job: str | None = None


class VersionFile(Resource):
    """A file of a version."""

    path: str
    bytes: int
    sha256: str


class Version(Resource):
    """One state of a model's files; they are there when it is asked for alone."""

    commit: str
    title: str
    refs: tuple[str, ...] = ()
    lineage: Lineage = Lineage()
    license: str | None = None
    bytes: int
    quality_line: str | None = None
    created_at: datetime
    files: tuple[VersionFile, ...] = ()


class Ref(Resource):
    """A name of a version."""

    name: str
    kind: str
    commit: str


class Me(Resource):
    """Who asks."""

    namespace: str


def own_namespace(client: Client) -> str:
    """Of the project whose key this is."""
    return client.call(Me, "GET", "/v1/me").namespace


def models(client: Client, filters: Mapping[str, str]) -> Iterator[Model]:
    """The models of the project, the newest first."""
    return client.pages(Model, MODELS, filters)


def model(client: Client, name: str) -> Model:
    return client.call(Model, "GET", _path(client, name))


def change(client: Client, name: str, values: Mapping[str, Any]) -> Model:
    return client.call(Model, "PATCH", _path(client, name), json=values)


def remove(client: Client, name: str) -> Model:
    return client.call(Model, "DELETE", _path(client, name))


def restore(client: Client, name: str) -> Model:
    return client.call(Model, "POST", f"{_path(client, name)}/restore")


def versions(client: Client, name: str) -> Iterator[Version]:
    """The versions of a model, the newest first."""
    return client.pages(Version, f"{_path(client, name)}/versions")


def version(client: Client, name: str, revision: str) -> Version:
    return client.call(Version, "GET", f"{_path(client, name)}/versions/{quote(revision, safe='')}")


def remove_version(client: Client, name: str, revision: str) -> None:
    client.delete(f"{_path(client, name)}/versions/{quote(revision, safe='')}")


def set_alias(client: Client, name: str, alias: str, revision: str) -> Ref:
    path = f"{_path(client, name)}/aliases/{quote(alias, safe='')}"
    return client.call(Ref, "PUT", path, json={"revision": revision})


def remove_alias(client: Client, name: str, alias: str) -> None:
    client.delete(f"{_path(client, name)}/aliases/{quote(alias, safe='')}")


def _path(client: Client, name: str) -> str:
    """Of `namespace/name`, or of a `name` of the caller's own project."""
    namespace, slash, own = name.rpartition("/")
    of = namespace if slash else own_namespace(client)
    return f"{MODELS}/{quote(of, safe='')}/{quote(own, safe='')}"
