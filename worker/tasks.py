"""What a message starts."""

from jobs.settings import load
from worker import queue
from worker.main import celery, stopping
from worker.runner import Runner


@celery.task(name=queue.TASK)
def compress(job_id: str) -> None:
    Runner(load(), stopping=stopping.is_set).run(job_id)
