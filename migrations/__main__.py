"""Bring the database to the newest schema: `python -m migrations`. Safe to run twice, and by several at once."""

from pathlib import Path

from alembic import command
from alembic.config import Config

from jobs import logs
from jobs.settings import load


def main() -> None:
    logs.install(load())
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    command.upgrade(config, "head")


if __name__ == "__main__":
    main()
