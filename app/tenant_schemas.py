"""Projects, their keys and their log, as a client sends and reads them."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, field_validator

from app.callers import Scope
from app.keyset import ListPage, Page
from app.quotas import Quota
from app.tables import ApiKeyRow, AuditRow
from jobs.sources import Spec
from jobs.states import Status
from jobs.tables import ProjectRow

PRINTABLE = r"^[^\x00-\x1f\x7f]*$"

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=PRINTABLE)]
ProjectId = Annotated[str, StringConstraints(pattern=r"^proj_[0-9a-z]{1,64}$")]
Count = Annotated[int, Field(ge=0, lt=2**31)]
Bytes = Annotated[int, Field(ge=0, lt=2**63)]
LONGEST_OVERLAP = 30 * 24 * 3600


class NewApiKey(Spec):
    """What a key is to be."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "ci", "scopes": ["jobs:read", "jobs:write"], "expires_at": "2099-01-01T00:00:00Z"}]
        }
    )

    name: Name = Field(description="What it is for, so that it is known when it is to be revoked.")
    scopes: frozenset[Scope] = Field(
        min_length=1, description="`admin` includes all others; none else includes another."
    )
    expires_at: AwareDatetime | None = Field(None, description="It opens nothing after that; never if not given.")
    project_id: ProjectId | None = Field(None, description="Another project than the caller's: for operators.")

    @field_validator("expires_at")
    @classmethod
    def _later(cls, at: datetime | None) -> datetime | None:
        if at is not None and at <= datetime.now(UTC):
            raise ValueError("a key cannot expire in the past")
        return at


class Rotation(Spec):
    """How a key is replaced."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"overlap_seconds": 3600}]})

    overlap_seconds: int = Field(
        0, ge=0, le=LONGEST_OVERLAP, description="For so long the old key still opens what it did."
    )


class ApiKey(BaseModel):
    """A key, without its secret."""

    object: Literal["api_key"] = "api_key"
    id: str
    project_id: str
    name: str
    prefix: str = Field(description="How the key begins.")
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: ApiKeyRow, **more: Any) -> Self:
        fields = {name: getattr(row, name) for name in ApiKey.model_fields if name != "object"}
        return cls(**fields, **more)


class CreatedApiKey(ApiKey):
    """A key with its secret, which is shown this once."""

    key: str = Field(description="Send it as Authorization: Bearer. Nobody can show it again.")


class ApiKeyList(ListPage[ApiKey]):
    """A page of keys, the newest first."""

    @classmethod
    def of(cls, page: Page[ApiKeyRow]) -> Self:
        data = [ApiKey.of(row) for row in page.items]
        return cls.holding(data, has_more=page.has_more)


class Limits(Spec):
    """What a project may have. What is null is as the settings say."""

    max_running: Count | None = Field(None, description="Jobs that run at once; more of them wait.")
    max_queued: Count | None = Field(None, description="Jobs that wait.")
    max_storage_bytes: Bytes | None = Field(None, description="Published models and uploaded files together.")
    max_uploaded_bytes: Bytes | None = Field(None, description="Uploaded files.")


class NewProject(Limits):
    """What a project is to be."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "nlp", "max_running": 2, "max_queued": 50}]})

    name: Name


class ProjectChange(Limits):
    """What is to change; what is not given stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"max_running": 4}]})

    name: Name | None = None


class Project(BaseModel):
    """A tenant: nobody else sees its jobs and files."""

    model_config = ConfigDict(from_attributes=True)

    object: Literal["project"] = "project"
    id: str
    name: str
    namespace: str = Field(description="Of its models, which are known as namespace/name.")
    max_running: int | None
    max_queued: int | None
    max_storage_bytes: int | None
    max_uploaded_bytes: int | None
    created_at: datetime

    @classmethod
    def of(cls, row: ProjectRow) -> Self:
        return cls.model_validate(row)


class ProjectList(ListPage[Project]):
    """A page of projects: the default one, then the newest first."""

    @classmethod
    def of(cls, page: Page[ProjectRow]) -> Self:
        data = [Project.of(row) for row in page.items]
        return cls.holding(data, has_more=page.has_more)


class Me(BaseModel):
    """Who asks."""

    object: Literal["caller"] = "caller"
    project_id: str
    project: str = Field(description="Its name.")
    namespace: str = Field(description="Of its models, which are known as namespace/name.")
    key_id: str | None = Field(description="Null for the key of the environment.")
    key: str = Field(description="Its name.")
    scopes: list[Scope]


class QuotaUse(BaseModel):
    """A limit, or null for none, and what is used of it."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    limit: int | None
    used: int


class QuotaList(BaseModel):
    """All quotas of the caller's project."""

    object: Literal["list"] = "list"
    data: list[QuotaUse]

    @classmethod
    def of(cls, quotas: list[Quota]) -> Self:
        return cls(data=[QuotaUse.model_validate(quota) for quota in quotas])


class Usage(BaseModel):
    """What the caller's project has, and has used."""

    object: Literal["usage"] = "usage"
    jobs: dict[Status, int] = Field(description="How many jobs stand so.")
    uploaded_bytes: int
    published_bytes: int = Field(description="The same content counts once.")
    checkpoint_bytes: int = Field(
        description="Of what jobs can go on from. No quota counts it: the service makes checkpoints, keeps a few "
        "of each job, and drops them some days after its end."
    )


class AuditEntry(BaseModel):
    """Something that was done."""

    model_config = ConfigDict(from_attributes=True)

    object: Literal["audit_entry"] = "audit_entry"
    id: str
    project_id: str
    at: datetime
    key_id: str | None = Field(description="With which key; null for the key of the environment.")
    key_name: str
    action: str
    target: str = Field(description="The id of what it was done to.")
    data: dict[str, Any]
    request_id: str


class AuditLog(ListPage[AuditEntry]):
    """A page of the log, the newest first."""

    @classmethod
    def of(cls, page: Page[AuditRow]) -> Self:
        data = [AuditEntry.model_validate(row) for row in page.items]
        return cls.holding(data, has_more=page.has_more)
