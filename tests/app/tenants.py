"""Projects and keys, made as an operator makes them."""

from typing import Any

from starlette.testclient import TestClient

KEYS, PROJECTS, LOG = "/v1/api_keys", "/v1/projects", "/v1/audit_log"


def make_project(client: TestClient, name: str = "other", **limits: int) -> str:
    """The id of a new project."""
    answer = client.post(PROJECTS, json={"name": name, **limits})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def make_key(client: TestClient, *scopes: str, **more: Any) -> dict[str, str]:
    """The header that carries a new key."""
    answer = client.post(KEYS, json={"name": "a key", "scopes": scopes, **more})
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['key']}"}
