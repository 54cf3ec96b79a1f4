"""The root of all our errors, and those of a request that is itself wrong; `errors` draws the whole tree."""

from typing import ClassVar

from jobs.fields import FieldError


class PruneryError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str, *, hint: str = "", errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.errors = errors

    def __str__(self) -> str:
        return f"{self.detail} {self.hint}".rstrip()


class RequestRefused(PruneryError):
    """The request itself is wrong."""

    code = "bad_request"
    status = 400
    title = "Bad request"


class InvalidSpec(RequestRefused):
    """A key, a type or a bound of the request does not hold; `errors` says which."""

    code = "invalid_spec"
    status = 422
    title = "The request does not describe a job"


class Unauthorized(RequestRefused):
    """The API key is missing or wrong."""

    code = "unauthorized"
    status = 401
    title = "A valid API key is needed"


class Forbidden(RequestRefused):
    """The API key is a valid one, but not for this."""

    code = "insufficient_scope"
    status = 403
    title = "The API key may not do this"


class NotFound(RequestRefused):
    """The caller has nothing under this id."""

    code = "not_found"
    status = 404
    title = "Not found"


class RepositoryNotFound(NotFound):
    """There is no such model, or the caller may not see it."""

    code = "repository_not_found"


class RevisionNotFound(NotFound):
    """No branch, tag, alias or commit of the model has this name."""

    code = "revision_not_found"


class EntryNotFound(NotFound):
    """The revision has no such file or folder."""

    code = "entry_not_found"

    def __init__(self, detail: str, *, commit: str) -> None:
        super().__init__(detail)
        self.commit = commit


class NameTaken(RequestRefused):
    """Something else has this name."""

    code = "name_taken"
    status = 409
    title = "The name is taken"


class KeyNotValid(RequestRefused):
    """The API key is revoked or has expired, so that this cannot be done to it."""

    code = "key_not_valid"
    status = 409
    title = "The API key is not valid any more"


class ProjectNotEmpty(RequestRefused):
    """The project still has jobs, files or models."""

    code = "project_not_empty"
    status = 409
    title = "The project is in use"


class VersionInUse(RequestRefused):
    """A branch or an alias stands for the version."""

    code = "version_in_use"
    status = 409
    title = "The version is in use"


class InvalidCursor(RequestRefused):
    """The cursor of a list does not come from us."""

    code = "invalid_cursor"
    title = "Unknown list cursor"


class BodyTooLarge(RequestRefused):
    """The request body is over the limit."""

    code = "body_too_large"
    status = 413
    title = "The body is too large"


class QuotaExceeded(RequestRefused):
    """The project has all that it may have."""

    code = "quota_exceeded"
    status = 429
    title = "The project has used up its quota"
    retryable = True

    def __init__(self, detail: str, *, hint: str, quota: str, limit: int, used: int) -> None:
        super().__init__(detail, hint=hint)
        self.quota, self.limit, self.used = quota, limit, used


class RateLimited(RequestRefused):
    """The key was used too often; after so many seconds it may be used again."""

    code = "rate_limited"
    status = 429
    title = "Too many requests"
    retryable = True

    def __init__(self, detail: str, *, hint: str, seconds: int) -> None:
        super().__init__(detail, hint=hint)
        self.seconds = seconds


class StateConflict(RequestRefused):
    """The job's state does not allow this; `allowed` lists what it does allow."""

    code = "invalid_state_transition"
    status = 409
    title = "Not possible in this state"

    def __init__(self, detail: str, *, allowed: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.allowed = allowed


class CheckpointNotPublishable(RequestRefused):
    """There would be nothing smaller to publish."""

    code = "checkpoint_not_publishable"
    status = 409
    title = "The checkpoint cannot be published"


class IdempotencyKeyReused(RequestRefused):
    """The Idempotency-Key of the request stands for another one."""

    code = "idempotency_key_reused"
    status = 422
    title = "The key belongs to another request"


class RequestInFlight(RequestRefused):
    """The same request is being answered already."""

    code = "idempotency_in_flight"
    status = 409
    title = "The same request is under way"
    retryable = True


class VersionMismatch(RequestRefused):
    """The resource is no longer as the client knows it."""

    code = "version_mismatch"
    status = 412
    title = "It has changed meanwhile"


class OffsetMismatch(RequestRefused):
    """The bytes of an upload do not follow those that are there."""

    code = "offset_mismatch"
    status = 409
    title = "The upload stands elsewhere"
    retryable = True


class BodyMismatch(RequestRefused):
    """What was sent is not what was announced."""

    code = "body_mismatch"
    status = 422
    title = "Other bytes than announced"


class RangeNotSatisfiable(RequestRefused):
    """The bytes asked for lie beyond the end."""

    code = "range_not_satisfiable"
    status = 416
    title = "No such bytes"

    def __init__(self, detail: str, *, size: int) -> None:
        super().__init__(detail)
        self.size = size


class AddressRefused(RequestRefused):
    """We must not call this address: it is no public one, or no way in which we call."""

    code = "address_refused"
    status = 422
    title = "The address cannot be called"


class TooManyEndpoints(RequestRefused):
    """The project has as many webhook endpoints as it may have."""

    code = "too_many_endpoints"
    status = 409
    title = "Too many webhook endpoints"


class FileInUse(RequestRefused):
    """A job that has not ended needs the file."""

    code = "file_in_use"
    status = 409
    title = "The file is in use"
