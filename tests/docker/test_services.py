"""The exact commands of our services, from docker-compose.yml and the Dockerfiles, against real servers."""

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from cli.stack.ports import free_block
from tests.docker.container import Container
from tests.docker.images import Image


@pytest.fixture
def port() -> int:
    return free_block(1)[0]


@pytest.fixture
def containers(
    images: dict[str, Image], variables: dict[str, str], port: int, tmp_path: Path
) -> Iterator[dict[str, Container]]:
    made = {
        service: Container(service, image, variables, tmp_path / service, port) for service, image in images.items()
    }
    yield made
    for container in made.values():
        container.kill()


def test_the_services_start_in_their_order_become_healthy_and_stop_when_told(
    containers: dict[str, Container], variables: dict[str, str], port: int
) -> None:
    staying = [containers[name] for name in ("api", "relay", "webhooks", "worker")]
    assert not any(container.healthy() for container in staying)
    for _ in range(2):  # the second time there is nothing to do
        containers["migrate"].start()
        assert containers["migrate"].end(120) == 0, containers["migrate"].log
    for container in staying:
        container.start()
    for container in staying:
        container.wait_until_healthy()
    key = {"Authorization": f"Bearer {variables['PRUNERY_API_KEY']}"}
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert client.get("/readyz").status_code == 200
        assert client.get("/v1/compression/jobs", headers=key).json()["data"] == []
    for container in staying:
        container.terminate()
    for container in staying:
        # uvicorn ends by the signal, once everything is closed.
        assert container.end(40) in (0, -signal.SIGTERM), container.log
        assert "Traceback" not in container.log
    assert not containers["api"].healthy()


def test_a_service_without_its_secrets_ends_and_says_which(
    images: dict[str, Image], variables: dict[str, str], port: int, tmp_path: Path
) -> None:
    placeholder = variables | {"PRUNERY_S3_SECRET_KEY": "changeme"}
    for service, image in images.items():
        container = Container(service, image, placeholder, tmp_path / service, port)
        container.start()
        assert container.end(60) != 0
        assert "PRUNERY_S3_SECRET_KEY still holds a placeholder" in container.log
