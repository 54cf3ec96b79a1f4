"""The Celery application of a worker: `celery -A worker.main:celery worker -P prefork -c 1 -Q jobs`.

Its processes only supervise. The work is done by an engine process, so nothing here may import torch: a process
that has CUDA in it cannot be forked, and what runs inside Celery's pool cannot be stopped cleanly.
"""

import multiprocessing
from typing import Any

from celery import signals

from jobs import logs
from jobs.settings import load
from worker import pulse, queue

# Made before the pool forks, so that the main process can tell the one that runs a job.
stopping = multiprocessing.Event()

celery = queue.application(load())
celery.conf.update(
    include=["worker.tasks"],
    # Acknowledged on receipt: the lease decides who runs a job, so the broker must never deliver one again by itself.
    task_acks_late=False,
    task_track_started=False,
    task_store_errors_even_if_ignored=False,
    worker_disable_prefetch=True,
    worker_prefetch_multiplier=1,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_redirect_stdouts=False,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
)


@signals.setup_logging.connect
def _log(**_: Any) -> None:
    """In place of what Celery would install."""
    logs.install(load())


@signals.celeryd_init.connect
def _say_who(sender: str, **_: Any) -> None:
    logs.install(load(), worker=sender)


@signals.heartbeat_sent.connect
def _beat(**_: Any) -> None:
    pulse.beat(load().pulse_file)


@signals.worker_shutting_down.connect
def _give_jobs_back(**_: Any) -> None:
    stopping.set()
