"""The doorbell: a message that carries a job's id and nothing else. Losing, doubling or delaying it is harmless."""

from celery import Celery
from kombu.exceptions import OperationalError
from opentelemetry.trace import SpanKind
from redis.exceptions import RedisError

from jobs import tracing
from jobs.settings import Settings

NAME = "jobs"
TASK = "prunery.compress"


class BrokerUnavailable(Exception):
    """The broker does not answer. The job is not lost by that: its doorbell stays in the outbox."""


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
            "visibility_timeout": 600,
            "socket_connect_timeout": 3,
            "socket_timeout": 10,
            "socket_keepalive": True,
            "health_check_interval": 25,
        },
    )
    return celery


def send(celery: Celery, job_id: str, traceparent: str | None = None) -> None:
    """Ring for a job, without trying twice.

    Raises:
        BrokerUnavailable: it was not heard, or perhaps not.
    """
    about = {"messaging.system": "redis", "messaging.destination.name": NAME, tracing.JOB: job_id}
    try:
        with tracing.span(f"send {NAME}", about, parent=traceparent, kind=SpanKind.PRODUCER):
            celery.send_task(TASK, kwargs={"job_id": job_id}, queue=NAME, retry=False, headers=tracing.carrier())
    except (OperationalError, RedisError, OSError) as error:
        raise BrokerUnavailable(str(error)) from error
