"""Bring the database to the newest schema: `python -m migrations`. Safe to run twice, and by several at once."""

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    command.upgrade(config, "head")


if __name__ == "__main__":
    main()
