"""The worker's own Celery application, but for the engine that it starts: PRUNERY_TEST_CHILD names another."""

import os

from jobs.settings import load
from tests.worker.desk import child
from worker.bell import application

celery = application(load(), child(os.environ["PRUNERY_TEST_CHILD"]))
