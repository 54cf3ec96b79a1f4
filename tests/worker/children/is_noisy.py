"""Writes what no log should hold, and then ends well."""

import os
import sys

from tests.worker.children.protocol import Child

child = Child()
out = sys.stderr.buffer
out.write(b"a NUL \0, half a character \xc3, " + "Ünïcode\n".encode())
out.write(b"".join(b"\r%3d%% of it" % percent for percent in range(101)) + b"\n")
out.write(b"x" * 1_000_000 + b"\n")
out.flush()
child.say("log", level="info", message="NUL \0 and half a pair \ud800", number=float("-inf"))
os.write(child.events_fd, b"no json\n[1]\n" + b'{"type": "succeeded"}\n{"type": 3}\n')
for number in range(20_000):
    out.write(b"line %d\n" % number)
out.write(b"no newline at the end")
out.flush()
child.leave_result({"config.json": b"{}"}, {})
