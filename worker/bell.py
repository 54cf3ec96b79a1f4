"""What Celery does in a worker: it hears the doorbell, and its one task wakes the thread that supervises jobs."""

from collections.abc import Sequence

from celery import Celery, signals

from jobs.settings import Settings
from worker import queue
from worker.hands import Hands
from worker.runner import ENGINE


def application(settings: Settings, engine: Sequence[str] = ENGINE) -> Celery:
    """The Celery application of a worker process: one worker, and one application, per process."""
    hands = Hands(settings, engine)
    celery = queue.application(settings)
    celery.conf.update(
        # Acknowledged on receipt: the lease decides who runs a job; no message is worth a second delivery.
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

    @celery.task(name=queue.TASK)
    def ring(job_id: str) -> None:
        hands.ring()

    # Before the broker was reached: jobs are found without it.
    signals.worker_init.connect(lambda **_: hands.start(), weak=False)
    signals.worker_shutting_down.connect(lambda **_: hands.stop(), weak=False)
    # Celery's own loop ends at once, the present job needs a while to be given back.
    signals.worker_shutdown.connect(lambda **_: hands.join(), weak=False)
    return celery
