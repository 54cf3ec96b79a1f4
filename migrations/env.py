"""How Alembic reaches the database that the services use."""

from alembic import context
from sqlalchemy import text

from app import tables
from jobs import database, settings

# Any number that nothing else in this database locks.
LOCK = 0x9E0_4E57

engine = database.engine(settings.load())
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=tables.Table.metadata)
    with context.begin_transaction():
        # Services of one deployment start together; whoever comes second finds the work done.
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        context.run_migrations()
engine.dispose()
