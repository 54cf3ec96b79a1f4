"""Takes no notice of TERM, starts a process that does not either, and stays for ever."""

import signal
import subprocess
import sys
import time

from tests.worker.children.protocol import Child

signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = Child()
subprocess.Popen(
    [
        sys.executable,
        "-c",
        "import os, sys, time; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); time.sleep(1e6)",
        child.metadata["started"],
    ]
)
child.say("phase", phase="pruning")
while True:
    time.sleep(1)
