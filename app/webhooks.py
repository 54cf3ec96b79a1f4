"""Webhook endpoints and their deliveries as clients see and change them. Never commits."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from jobs import ids
from jobs.sealing import Seal
from jobs.webhook_tables import WebhookEndpointRow


def create(
    session: Session,
    *,
    project_id: str,
    url: str,
    events: Sequence[str],
    secret: str,
    seal: Seal,
    description: str | None = None,
    job_id: str | None = None,
) -> WebhookEndpointRow:
    """A new endpoint, told of every event from now on.

    Args:
        job_id: tells of this job alone.
    """
    row = WebhookEndpointRow(
        id=ids.new("we"),
        project_id=project_id,
        job_id=job_id,
        url=url,
        events=list(events),
        description=description,
        secret=seal.closed(secret),
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return row
