"""A worker: `celery -A worker.main:celery worker -P solo -Q jobs`.

The work itself is done by an engine process, so nothing here may import torch.
"""

from typing import Any

from celery import signals

from jobs import logs, tracing
from jobs.settings import load
from worker import bell

celery = bell.application(load())


@signals.setup_logging.connect
def _log(**_: Any) -> None:
    """In place of what Celery would install."""
    logs.install(load())


@signals.celeryd_init.connect
def _say_who(sender: str, **_: Any) -> None:
    logs.install(load(), worker=sender)
    tracing.install("worker")
