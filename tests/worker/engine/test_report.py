"""The report's published form."""

from pathlib import Path

from worker.engine import report

PUBLISHED = Path(__file__).parents[3] / "docs" / "compression_report.schema.json"


def test_the_published_schema_is_that_of_the_code() -> None:
    renew = "renew it: python -m worker.engine.report > docs/compression_report.schema.json"
    assert PUBLISHED.read_text(encoding="utf-8") == report.schema(), renew
