"""Jobs live through the end of everything around them: each part is killed once while one of them runs."""

import random
import time
from functools import partial

import pytest

from bench.service import audit, chaos, faults, orders
from bench.service.caller import Caller
from bench.service.orders import Material
from bench.service.rows import sessions_of, settings_of
from cli.stack import Stack
from jobs.files import Files
from tests.worker.desk import wait_until

SECONDS = 600.0


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return orders.prepare(tmp_path_factory.mktemp("chaos"))


@pytest.mark.timeout(2 * SECONDS)
def test_whatever_is_killed_every_job_ends_once_and_as_it_should(stack: Stack, material: Material) -> None:
    chance, kinds = random.Random(20), faults.worst(stack)
    asked = [
        material.order(0, steps=100),
        # Runs until it is cancelled, so that there is an engine for each of the faults to meet.
        material.order(1, "cancelled"),
        material.order(2, "failed"),
        material.order(3, steps=100),
    ]
    with Caller(stack.url, stack.api_key) as caller:
        jobs = [caller.submit(order.spec)["id"] for order in asked]
        for fault in chance.sample(kinds, len(kinds)):
            wait_until(lambda: bool(faults.engines(stack)), SECONDS)
            wait_until(partial(fault.strike, stack, chance), SECONDS)
            time.sleep(chance.uniform(0.5, 2.0))
        for part in stack.processes:
            stack.wait_for(part)
        assert caller.cancel(jobs[1]) == 200
        for job_id in jobs:
            caller.wait(job_id, seconds=SECONDS)
        assert caller.answers[500] == 0
    with sessions_of(stack) as sessions:
        with sessions() as session:
            assert audit.endings(session, asked) == []
            assert audit.artifacts(session, Files(settings_of(stack)), asked) == []
        assert chaos.left(sessions, stack) == []
