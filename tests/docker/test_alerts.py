"""The alert rules can be evaluated: they parse, and name only metrics and labels that the API tells."""

import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from app.main import create_app
from app.metrics import GAUGES
from jobs import meters
from jobs.settings import Settings
from tests.docker import compose

RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((compose.ROOT / "docker" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
PAGE = (compose.ROOT / "docs" / "operations.md").read_text()
DOCUMENTED = re.findall(r"^\| `(compression_\w+)`( †)? \|([^|]*)\|", PAGE, re.MULTILINE)
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
# Prometheus' own, and those of a process in itself.
FOREIGN = {"up"}


@pytest.fixture
def told(settings: Settings) -> set[str]:
    """The names of all series that the API may tell."""
    with TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {settings.api_key.get_secret_value()}"
        text = client.get("/metrics").text
    families = [family for family in text_string_to_metric_families(text) if family.name.startswith("compression_")]
    return {family.name + suffix for family in families for suffix in SUFFIXES[family.type]}


def selectors(expression: str) -> Iterator[str]:
    """The names of the series that it looks at; fails if it is no PromQL."""
    promql_parser.parse(expression)
    yield from re.findall(r"\b(up|compression_\w+)\b", expression)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_names_what_there_is(rule: dict[str, Any], told: set[str]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    found = set(selectors(rule["expr"]))
    assert found
    assert found - FOREIGN <= told
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]


def test_the_page_has_every_metric_and_every_alert_and_no_other(told: set[str]) -> None:
    bases = {re.sub(r"_(bucket|count|sum)$", "", name) for name in told}
    assert {name for name, *_ in DOCUMENTED} == bases
    assert re.findall(r"^- \*\*(Prunery\w+)\*\*", PAGE, re.MULTILINE) == [rule["alert"] for rule in RULES]


def test_the_page_has_the_labels_of_what_is_counted() -> None:
    labels = {name: set(re.findall(r"`(\w+)`", cell)) for name, _, cell in DOCUMENTED}
    for meter in meters.METERS:
        name = meter.name if meter.bounds else f"{meter.name}_total"
        assert labels[name] == set(meter.labels), name
    for name, _, told, _ in GAUGES:
        assert labels[name] == set(told), name
