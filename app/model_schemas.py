"""Models and their revisions, as a client sends and reads them."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from app.keyset import ListPage, Page
from app.registry import COMMIT
from app.tenant_schemas import PRINTABLE
from jobs.outputs import RepositoryName
from jobs.registry_tables import ModelRow, RefRow, RevisionFileRow, RevisionRow
from jobs.sources import Spec

MODELS = "/v1/models"
OURS = re.compile(r"main|cjob_.*|step-\d+")

Visibility = Literal["private", "public"]
Description = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00]*$")]
Message = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=PRINTABLE)]


def _free(alias: str) -> str:
    if OURS.fullmatch(alias) or COMMIT.fullmatch(alias):
        raise ValueError("main, cjob_…, step-… and what reads as a commit are names that the service gives")
    return alias


Alias = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9_])?$"),
    AfterValidator(_free),
]


class NewModel(Spec):
    """What a model is to be; jobs make theirs by themselves."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "smollm2-135m-p50", "visibility": "private"}]})

    name: RepositoryName
    visibility: Visibility = Field("private", description="public: every key of the service may read it.")
    description: Description | None = None


class ModelChange(Spec):
    """What is to change; what is not given stays."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"deprecation": "Use nlp/smollm2-135m-p40: it is better."}]}
    )

    visibility: Visibility | None = Field(None, description="public: every key of the service may read it.")
    description: Description | None = None
    deprecation: Message | None = Field(
        None, description="What to use instead, and why: shown to whoever loads the model. Null takes it back."
    )


class AliasTarget(Spec):
    """What an alias is to stand for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"revision": "main"}]})

    revision: str = Field(min_length=1, max_length=200, description="A branch, tag, alias or commit, as it is now.")


class ModelUrls(BaseModel):
    """Where to go on from here, relative to the service's address."""

    self: str
    versions: str
    refs: str


class Model(BaseModel):
    """A repository of a project: revisions, the newest under `main`, and names for them."""

    object: Literal["model"] = "model"
    id: str
    namespace: str = Field(description="Of the project.")
    name: str
    visibility: Visibility
    description: str | None
    downloads: int = Field(description="Callers who fetched it, each counted once for a revision.")
    deprecated_at: datetime | None
    deprecation: str | None = Field(description="What to use instead, and why.")
    deleted_at: datetime | None = Field(description="It can be restored for some days.")
    created_at: datetime
    updated_at: datetime
    urls: ModelUrls

    @classmethod
    def of(cls, row: ModelRow, namespace: str) -> Self:
        here = f"{MODELS}/{namespace}/{row.name}"
        fields = {name: getattr(row, name) for name in cls.model_fields if name not in ("object", "namespace", "urls")}
        urls = ModelUrls(self=here, versions=f"{here}/versions", refs=f"{here}/refs")
        return cls(namespace=namespace, urls=urls, **fields)


class ModelList(ListPage[Model]):
    """A page of models, the newest first."""

    @classmethod
    def of(cls, page: Page[ModelRow], namespace: str) -> Self:
        data = [Model.of(row, namespace) for row in page.items]
        return cls.holding(data, has_more=page.has_more)


class Lineage(BaseModel):
    """Where a revision comes from."""

    base_model: str | None
    base_revision: str | None = Field(description="Its commit on the hub, as far as it is known.")
    job: str | None = Field(description="The job that made it; it may be deleted meanwhile.")


class Version(BaseModel):
    """One state of a model's files, which never changes."""

    object: Literal["model_version"] = "model_version"
    commit: str = Field(description="Made of its files: the same files have the same commit.")
    title: str
    refs: list[str] = Field(description="The branches, tags and aliases that stand for it.")
    lineage: Lineage
    license: str | None = Field(description="Of the base model, as its model card states it.")
    bytes: int
    quality: dict[str, Any] | None = Field(description="Dense against pruned, as the report of the job has it.")
    quality_line: str | None
    certificate: dict[str, Any] | None = Field(description="How it was reloaded before it was published.")
    config: dict[str, Any] | None
    parameters: dict[str, int] | None = Field(description="How many are stored, by their dtype.")
    created_at: datetime

    @classmethod
    def of(cls, row: RevisionRow, refs: list[str], **more: Any) -> Self:
        known = ("quality", "quality_line", "certificate", "config", "parameters")
        return cls(
            commit=row.commit,
            title=row.title,
            refs=refs,
            lineage=Lineage(base_model=row.base_model, base_revision=row.base_revision, job=row.job_id),
            license=row.license,
            bytes=row.bytes,
            created_at=row.created_at,
            **{name: row.facts.get(name) for name in known},
            **more,
        )


class VersionFile(BaseModel):
    """A file of a version."""

    model_config = ConfigDict(from_attributes=True)

    path: str
    bytes: int
    sha256: str


class VersionWithFiles(Version):
    """A version with all its files."""

    files: list[VersionFile]

    @classmethod
    def with_files(cls, row: RevisionRow, refs: list[str], files: Iterable[RevisionFileRow]) -> Self:
        return cls.of(row, refs, files=[VersionFile.model_validate(file) for file in files])


class VersionList(ListPage[Version]):
    """A page of versions, the newest first; they are known by their commits."""

    @classmethod
    def of(cls, rows: list[RevisionRow], refs: Mapping[str, list[str]], *, has_more: bool) -> Self:
        data = [Version.of(row, refs.get(row.commit, [])) for row in rows]
        return cls.holding(data, has_more=has_more, id="commit")


class Ref(BaseModel):
    """A name of a version."""

    model_config = ConfigDict(from_attributes=True)

    object: Literal["model_ref"] = "model_ref"
    name: str
    kind: Literal["alias", "branch", "tag"] = Field(description="A tag stays where it is; branches and aliases move.")
    commit: str
    updated_at: datetime


class RefList(BaseModel):
    """All names of a model's versions."""

    object: Literal["list"] = "list"
    data: list[Ref]

    @classmethod
    def of(cls, rows: Iterable[RefRow]) -> Self:
        return cls(data=[Ref.model_validate(row) for row in rows])
