"""Run the three servers until killed: `python -m tests.cli.stack.hold FOLDER`. Says how they are reached."""

import json
import signal
import sys
from pathlib import Path

from cli.stack.servers import Servers

if __name__ == "__main__":
    with Servers(Path(sys.argv[1])) as servers:
        pids = {part: process.pid for part, process in servers.processes.items()}
        sys.stdout.write(json.dumps({"settings": servers.settings(), "pids": pids}) + "\n")
        sys.stdout.flush()
        signal.pause()
