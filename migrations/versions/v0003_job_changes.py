"""Say on the channel `job_changes` which job has changed, once the change is committed."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# By trigger, so that no statement that changes a job can forget it; a heartbeat changes nothing that anyone waits for.
FUNCTION = """
CREATE FUNCTION tell_job_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('job_changes', NEW.id);
    RETURN NULL;
END
$$
"""
TRIGGER = """
CREATE TRIGGER jobs_tell_change AFTER UPDATE ON jobs FOR EACH ROW
WHEN (NEW.version <> OLD.version OR NEW.last_seq <> OLD.last_seq)
EXECUTE FUNCTION tell_job_change()
"""


def upgrade() -> None:
    op.execute(FUNCTION)
    op.execute(TRIGGER)


def downgrade() -> None:
    op.execute("DROP TRIGGER jobs_tell_change ON jobs")
    op.execute("DROP FUNCTION tell_job_change")
