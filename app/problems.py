"""Every error as application/problem+json (RFC 9457): one shape, one place."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app import allowed, hub_headers, hub_problems, pointers
from jobs import database, errors
from jobs.errors import FieldError, PruneryError

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 5
CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    415: "unsupported_media_type",
}

DATABASE_OUTAGES = (*database.OUTAGES, PoolTimeout)

logger = logging.getLogger(__name__)


class Problem(BaseModel):
    """What went wrong, where, and what to do about it."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    hint: str | None = None
    instance: str
    request_id: str
    retryable: bool = False
    errors: list[FieldError] = []
    allowed: list[str] | None = None
    quota: str | None = None
    limit: int | None = None
    used: int | None = None


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documented errors of a route; 401, 403, 429, 500 and 503 go with each."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: schema}}
        for status in sorted({*statuses, 401, 403, 429, 500, 503})
    }


def install(app: FastAPI) -> None:
    """Answers each error that leaves a route."""
    app.add_exception_handler(PruneryError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    for kind in DATABASE_OUTAGES:
        app.add_exception_handler(kind, _database_down)


def answer(scope: Mapping[str, Any], error: PruneryError) -> JSONResponse:
    """The problem document of an error."""
    problem = _problem(scope, error.status, error.code, error.title, error.detail)
    problem.hint = error.hint or None
    problem.retryable = error.retryable
    problem.errors = list(error.errors)
    headers: dict[str, str] = {}
    match error:
        case errors.StateConflict(allowed=allowed):
            problem.allowed = list(allowed)
        case errors.QuotaExceeded(quota=quota, limit=limit, used=used):
            problem.quota, problem.limit, problem.used = quota, limit, used
        case errors.RateLimited(seconds=seconds):
            headers["Retry-After"] = str(seconds)
        case errors.RangeNotSatisfiable(size=size):
            headers["Content-Range"] = f"bytes */{size}"
        case errors.RequestInFlight():
            headers["Retry-After"] = "1"
        case errors.Unauthorized():
            headers["WWW-Authenticate"] = "Bearer"
        case errors.EntryNotFound(commit=commit):
            headers[hub_headers.COMMIT] = commit
    if error.status == 503:
        headers["Retry-After"] = str(RETRY_SECONDS)
    return _response(problem, headers)


def database_down(scope: Mapping[str, Any], error: Exception) -> JSONResponse:
    """The problem document of a database that is not there; its own words hold addresses of ours."""
    logger.warning("the database does not answer: %s", error)
    return answer(scope, errors.StorageUnavailable("The database does not answer.", hint="Try again later."))


def unexpected(scope: Mapping[str, Any]) -> JSONResponse:
    """The problem document of a fault of ours: nothing of it is told but the request's id, which the log has too."""
    detail = "The service could not answer. Give this request_id to its operator: the log tells more."
    return _response(_problem(scope, 500, "internal", PruneryError.title, detail), {})


def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PruneryError)
    if isinstance(error, errors.StorageUnavailable):
        # The client library's words hold addresses of ours.
        logger.warning("%s", error)
        error = errors.StorageUnavailable("Object storage does not answer.", hint="Try again later.")
    return answer(request.scope, error)


def _database_down(request: Request, error: Exception) -> JSONResponse:
    return database_down(request.scope, error)


def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if found and found[0]["type"] == "json_invalid":
        position, reason = found[0]["loc"][-1], found[0]["ctx"]["error"]
        detail = f"The body is not JSON: {reason} at character {position}."
        return _response(_problem(request.scope, 400, "malformed_json", "The body is not JSON", detail), {})
    body = getattr(request.scope.get("route"), "body_field", None)
    schema = {} if body is None else pointers.schema_of(body.field_info.annotation)
    fields = tuple(pointers.field_error(each, schema) for each in found)
    said = "; ".join(f"{field.pointer or 'body'}: {field.detail}" for field in fields[:5])
    if all(each["loc"][:1] == ("body",) for each in found):
        return answer(request.scope, errors.InvalidSpec(f"{said}.", errors=fields))
    problem = _problem(request.scope, 422, "invalid_parameter", "A parameter of the request is wrong", f"{said}.")
    problem.errors = list(fields)
    return _response(problem, {})


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    title = HTTPStatus(error.status_code).phrase
    code = CODES.get(error.status_code, "bad_request" if error.status_code < 500 else "internal")
    detail, headers = error.detail, dict(error.headers or {})
    if error.status_code == 404:
        detail = f"There is nothing at {request.url.path}."
    if error.status_code == 405:
        detail = f"{request.method} is not possible on {request.url.path}."
        # The framework names the methods of the first route that it found only.
        if known := allowed.methods(request.app, request.url.path):
            headers["Allow"] = ", ".join(known)
    return _response(_problem(request.scope, error.status_code, code, title, detail), headers)


def _gone(request: Request, error: Exception) -> JSONResponse:
    logger.info("the client went away before its request was whole")
    return _response(_problem(request.scope, 400, "bad_request", "Bad Request", "The body broke off."), {})


def _problem(scope: Mapping[str, Any], status: int, code: str, title: str, detail: str) -> Problem:
    return Problem(
        type=f"urn:prunery:problem:{code}",
        title=title,
        status=status,
        code=code,
        detail=detail,
        instance=scope["path"],
        request_id=_request_id(scope),
    )


def _request_id(scope: Mapping[str, Any]) -> str:
    return str(scope.get("state", {}).get("request_id", ""))


def _response(problem: Problem, headers: Mapping[str, str]) -> JSONResponse:
    if hub_problems.is_theirs(problem.instance):
        return hub_problems.response(problem.status, problem.code, problem.detail, headers)
    content = problem.model_dump(exclude_none=True)
    return JSONResponse(content, problem.status, dict(headers), MEDIA_TYPE)
