"""`prunery keys` and `prunery projects` against the real API."""

import json

from click.testing import CliRunner, Result

from cli.main import main
from tests.cli.conftest import Service


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, arguments, env=environment)


def made(*arguments: str) -> dict[str, object]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)
    return found


def test_a_key_is_printed_alone_and_works_until_it_is_revoked(service: Service) -> None:
    created = run("keys", "create", "ci", "--scope", "jobs:read", "--scope", "admin", "--days", "9")
    assert created.exit_code == 0, created.output
    (key,) = created.stdout.split()
    assert "cannot be shown again" in created.stderr
    assert run("list", PRUNERY_API_KEY=key).exit_code == 0

    (listed,) = json.loads(run("keys", "list", "--json").stdout)
    assert (listed["name"], listed["scopes"]) == ("ci", ["admin", "jobs:read"])
    shown = run("keys", "list", COLUMNS="200")
    assert listed["id"] in shown.output
    assert "until" in shown.output
    assert key not in shown.output

    rotated = run("keys", "rotate", listed["id"], "--overlap", "60")
    assert rotated.exit_code == 0, rotated.output
    new = rotated.stdout.strip()
    assert run("list", PRUNERY_API_KEY=new).exit_code == 0
    assert run("list", PRUNERY_API_KEY=key).exit_code == 0

    revoked = run("keys", "revoke", listed["id"])
    assert "revoked" in revoked.output
    states = {each["id"]: each["revoked_at"] for each in json.loads(run("keys", "list", "--json").stdout)}
    assert states.pop(listed["id"]) is not None
    assert list(states.values()) == [None]


def test_a_key_without_scopes_named_may_do_all_but_administer(service: Service) -> None:
    key = str(made("keys", "create", "usual")["key"])
    assert run("list", PRUNERY_API_KEY=key).exit_code == 0
    refused = run("keys", "list", PRUNERY_API_KEY=key)
    assert refused.exit_code == 2
    assert "insufficient_scope" in refused.output


def test_what_is_not_there_or_wrong_is_said(service: Service) -> None:
    for arguments in (
        ("keys", "revoke", "key_0"),
        ("keys", "rotate", "key_0"),
        ("keys", "create", "x", "--project", "proj_0"),
        ("projects", "remove", "proj_0"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2, arguments
        assert "not_found" in result.output
    assert "neither a number" in run("projects", "create", "x", "--max-queued", "many").output
    assert "There are no keys" in run("keys", "list").output


def test_a_project_has_its_limits_and_its_keys(service: Service) -> None:
    project = made("projects", "create", "nlp", "--max-queued", "3", "--max-storage-bytes", str(2**30))
    id = str(project["id"])
    assert (project["max_queued"], project["max_running"]) == (3, None)
    changed = made("projects", "change", id, "--max-queued", "default", "--max-running", "2", "--name", "text")
    assert (changed["name"], changed["max_queued"], changed["max_running"]) == ("text", None, 2)
    table = run("projects", "list", COLUMNS="200").output
    assert "text" in table
    assert "1.0 GiB" in table
    assert [each["name"] for each in json.loads(run("projects", "list", "--json").stdout)] == ["default", "text"]

    theirs = str(made("keys", "create", "their-admin", "--scope", "admin", "--project", id)["key"])
    assert "insufficient_scope" in run("projects", "list", PRUNERY_API_KEY=theirs).output
    assert json.loads(run("keys", "list", "--json", PRUNERY_API_KEY=theirs).stdout)[0]["name"] == "their-admin"
    assert run("keys", "list", "--project", id).exit_code == 0
    assert "removed" in run("projects", "remove", id).output
