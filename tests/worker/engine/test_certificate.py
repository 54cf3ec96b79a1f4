"""The published form of the certificate."""

from pathlib import Path

from worker.engine import certificate

PUBLISHED = Path(__file__).parents[3] / "docs" / "certificate.schema.json"


def test_the_published_schema_is_that_of_the_form() -> None:
    renew = "renew it: python -m worker.engine.certificate > docs/certificate.schema.json"
    assert PUBLISHED.read_text(encoding="utf-8") == certificate.schema(), renew
