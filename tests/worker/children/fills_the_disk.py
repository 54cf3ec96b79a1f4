"""Writes a model until there is no room left, not even for the reason."""

import contextlib
import json

from tests.worker.children.protocol import Child

child = Child()
child.say("phase", phase="exporting")
(child.out / "model").mkdir()
with contextlib.suppress(OSError), (child.out / "model" / "model.safetensors").open("wb", buffering=0) as file:
    while True:
        file.write(bytes(65_536))
with (child.out / "error.json").open("w") as file:
    json.dump({"code": "out_of_disk"}, file)
raise SystemExit("there should have been no room")
