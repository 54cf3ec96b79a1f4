"""The worker's own Celery application, but for the engine that its task starts: PRUNERY_TEST_CHILD names another."""

import os

from jobs.settings import load
from tests.worker.desk import child
from worker import queue
from worker.main import celery, stopping
from worker.runner import Runner

celery.conf.include = []


@celery.task(name=queue.TASK)
def compress(job_id: str) -> None:
    Runner(load(), command=child(os.environ["PRUNERY_TEST_CHILD"]), stopping=stopping.is_set).run(job_id)
