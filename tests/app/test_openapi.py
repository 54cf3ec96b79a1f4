"""The OpenAPI document says what the service does."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from starlette.testclient import TestClient

from app.job_bodies import EXAMPLES
from jobs.specs import JobSpec


def test_each_route_documents_its_answers_and_its_errors(client: TestClient) -> None:
    document = client.get("/v1/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            answers = operation["responses"]
            where = f"{method} {path}"
            assert operation["description"], where
            assert any(status.startswith("2") for status in answers), where
            if path == "/healthz":
                continue
            assert {"401", "500", "503"} <= set(answers), where
            if operation.get("parameters"):
                assert "422" in answers, where
            for status, answer in answers.items():
                if int(status) >= 400:
                    (schema,) = answer["content"].values()
                    assert list(answer["content"]) == ["application/problem+json"], where
                    assert schema["schema"] == {"$ref": "#/components/schemas/Problem"}, where
    assert document["security"] == [{"key": []}]
    assert document["paths"]["/readyz"]["get"]["security"] == []


def test_every_reference_leads_somewhere(client: TestClient) -> None:
    document = client.get("/v1/openapi.json").json()
    found = set(references(document))
    assert "#/components/schemas/Problem" in found
    for reference in found:
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_the_examples_of_a_job_are_sound(client: TestClient) -> None:
    document = client.get("/v1/openapi.json").json()
    body = document["paths"]["/v1/compression/jobs"]["post"]["requestBody"]["content"]["application/json"]
    assert body["examples"] == EXAMPLES
    for example in EXAMPLES.values():
        JobSpec.model_validate(example["value"])


def test_every_body_and_every_answer_has_an_example_that_is_one(client: TestClient, subtests: pytest.Subtests) -> None:
    document = client.get("/v1/openapi.json").json()
    seen = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            contents = [(answer.get("content", {}), status) for status, answer in operation["responses"].items()]
            contents.append((operation.get("requestBody", {}).get("content", {}), "body"))
            for content, where in contents:
                if "application/json" not in content:
                    continue
                with subtests.test(f"{method} {path} {where}"):
                    media = content["application/json"]
                    examples = [each["value"] for each in media.get("examples", {}).values()] or [media["example"]]
                    schema = {**media["schema"], "components": document["components"]}
                    for example in examples:
                        Draft202012Validator(schema, format_checker=FormatChecker()).validate(example)
                    seen += 1
    assert seen > 60


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [reference for member in node.values() for reference in references(member)]
    if isinstance(node, list):
        return [reference for member in node for reference in references(member)]
    return []
