"""The doorbell: a message that carries a job's id and nothing else. Losing, doubling or delaying it is harmless."""

from celery import Celery

from jobs.settings import Settings

NAME = "jobs"
TASK = "prunery.compress"


def application(settings: Settings) -> Celery:
    """A Celery application that can send; the worker adds what it needs to receive."""
    celery = Celery("prunery", broker=settings.broker_url.get_secret_value(), set_as_current=False)
    celery.conf.update(
        task_default_queue=NAME,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        broker_connection_timeout=3,
        broker_transport_options={
            "global_keyprefix": "prunery:",
            "socket_connect_timeout": 3,
            "socket_timeout": 10,
            "socket_keepalive": True,
            "health_check_interval": 25,
        },
    )
    return celery


def send(celery: Celery, job_id: str) -> None:
    """Ring for a job.

    Raises:
        kombu.exceptions.OperationalError: the broker does not answer.
    """
    celery.send_task(TASK, kwargs={"job_id": job_id}, queue=NAME, retry=False)
