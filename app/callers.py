"""Who asks: a project, by one of its keys, and what that key may do."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Depends, Request

from jobs import errors
from jobs.tables import DEFAULT_PROJECT

FORBIDDEN_HINT = "Use a key that has it; GET /v1/me shows what a key may do."


class Scope(StrEnum):
    """What a key may do; none includes another, but `admin` includes all."""

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    MODELS_READ = "models:read"
    MODELS_WRITE = "models:write"
    METRICS_READ = "metrics:read"
    ADMIN = "admin"


@dataclass(frozen=True)
class Caller:
    """Whoever has this key."""

    project_id: str
    key_id: str | None  # none: the key of the environment
    key_name: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes

    @property
    def operates(self) -> bool:
        """Whether all projects are theirs to manage: an administrator of the default project."""
        return self.project_id == DEFAULT_PROJECT and Scope.ADMIN in self.scopes


def anonymous(host: str) -> Caller:
    """Whoever comes without a key, from this address: public models are all that they see."""
    return Caller("", None, f"anonymous {host}", frozenset())


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]


def needs(scope: Scope) -> Any:
    """The caller, if their key has the scope, else Forbidden."""

    async def check(caller: CallerDep) -> Caller:
        if not caller.may(scope):
            raise errors.Forbidden(f"The API key {caller.key_name!r} lacks the scope {scope}.", hint=FORBIDDEN_HINT)
        return caller

    return Depends(check)


JobReader = Annotated[Caller, needs(Scope.JOBS_READ)]
JobWriter = Annotated[Caller, needs(Scope.JOBS_WRITE)]
ModelReader = Annotated[Caller, needs(Scope.MODELS_READ)]
ModelWriter = Annotated[Caller, needs(Scope.MODELS_WRITE)]
Administrator = Annotated[Caller, needs(Scope.ADMIN)]
