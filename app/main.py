"""The API: `uvicorn app.main:create_app --factory`."""

import asyncio
import ctypes
import gc
import logging
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Any

from anyio import create_task_group, to_thread
from fastapi import FastAPI

from app import deps, examples, problems
from app.access import Access
from app.auth import KeyCheck, KeyRing
from app.changes import Changes
from app.limits import Limits
from app.rate_limits import RateLimits
from app.request_id import RequestId
from app.routes import (
    account,
    api_keys,
    artifacts,
    checkpoints,
    estimates,
    files,
    health,
    hub_account,
    hub_files,
    hub_models,
    jobs,
    methods,
    metrics,
    models,
    papers,
    projects,
    records,
    removal,
    streams,
    uploads,
    verbs,
    versions,
    webhooks,
)
from jobs import errors, logs, tracing
from jobs import settings as environment
from jobs.settings import Settings

DESCRIPTION = "Makes large language models smaller: LoRA fine-tuning with structured pruning."

ROUTES = (
    jobs,
    verbs,
    estimates,
    records,
    removal,
    checkpoints,
    streams,
    artifacts,
    papers,
    models,
    files,
    uploads,
    versions,
    methods,
    account,
    api_keys,
    projects,
    webhooks,
    health,
    metrics,
    hub_models,
    hub_account,
    hub_files,  # the last: it answers whatever is left below /hf
)

logger = logging.getLogger(__name__)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; with settings of its own, or those of the process."""
    settings = settings or environment.load()
    logs.install(settings)
    tracing.install("api")
    door = deps.open_door(settings)
    app = FastAPI(
        title="Prunery",
        version="1",
        description=DESCRIPTION,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    app.state.door = door
    for routes in ROUTES:
        app.include_router(routes.router)
    problems.install(app)
    app.add_exception_handler(streams.NothingMore, streams.no_content)
    # The last one added is the outermost.
    app.add_middleware(Limits, settings=settings)
    app.add_middleware(RateLimits, counter=door.requests)
    app.add_middleware(KeyCheck, keys=KeyRing(door.sessions, settings.api_key, settings.metrics_token))
    app.add_middleware(Access, metrics=door.metrics)
    app.add_middleware(RequestId)
    _document(app)
    return app


def _settle_memory() -> None:
    """What is there by now stays: to look through it again and again would be a tenth of a request's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 10)
    # What only the start needed goes back to the system, where the C library can do that.
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    door: deps.Door = app.state.door
    try:
        await to_thread.run_sync(door.files.ensure_bucket)
    except errors.StorageUnavailable as error:
        # The readiness check says so too, and makes the bucket once the storage is there.
        logger.warning("%s", error)
    async with create_task_group() as tasks:
        tasks.start_soon(door.changes.run)
        with _told_of_the_end(door.changes):
            _settle_memory()
            yield
        tasks.cancel_scope.cancel()
    await door.requests.close()
    door.readiness.close()
    door.engine.dispose()
    tracing.flush()


@contextmanager
def _told_of_the_end(changes: Changes) -> Iterator[None]:
    """Ends the answers that wait for changes when the process is asked to end; the server waits for them to end."""
    if threading.current_thread() is not threading.main_thread():  # a process of which this is only a part
        yield
        return
    loop = asyncio.get_running_loop()
    theirs = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def end(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(changes.close)
        if callable(handler := theirs[signal.Signals(number)]):
            handler(number, frame)

    for number in theirs:
        signal.signal(number, end)
    yield
    for number, handler in theirs.items():
        signal.signal(number, handler)


def _document(app: FastAPI) -> None:
    """Adds to the OpenAPI document what the routes refer to: the problem document, and the key."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            reference = "#/components/schemas/{model}"
            schema = problems.Problem.model_json_schema(ref_template=reference)
            components = document.setdefault("components", {})
            components.setdefault("schemas", {}).update(schema.pop("$defs"), Problem=schema)
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{"key": []}]
            examples.add(document)
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]
