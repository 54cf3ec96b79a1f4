"""Asks the OSV database whether a known weakness is in what constraints.txt pins: `.ci/audit.py [--osv-url URL]`.

Exits with 1 if there is one. Without a way to the database it says so, loudly, and exits with 0: a machine without
the world outside can still check everything else.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PINS = Path(__file__).parents[1] / "constraints.txt"
COMMAND = (
    *(sys.executable, "-m", "pip_audit", "--requirement", str(PINS), "--no-deps", "--disable-pip"),
    *("--vulnerability-service", "osv", "--format", "json", "--progress-spinner", "off", "--timeout", "10"),
)
OFFLINE = ("ConnectionError", "Timeout", "ProxyError", "SSLError", "Connection refused")


def main(arguments: list[str]) -> int:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except ValueError:
        if any(word in done.stderr for word in OFFLINE):
            return _not_audited("offline", done.stderr.strip().splitlines()[-1])
        sys.stderr.write(done.stderr)
        return 1
    skipped = [package for package in packages if "skip_reason" in package]
    weak = [package for package in packages if package.get("vulns")]
    for package in weak:
        for found in package["vulns"]:
            mended = ", ".join(found["fix_versions"]) or "no version yet"
            sys.stderr.write(f"{package['name']} {package['version']}: {found['id']}, mended in {mended}\n")
    if weak:
        return 1
    if skipped:
        return _not_audited(f"{len(skipped)} of {len(packages)} packages", skipped[0]["skip_reason"])
    sys.stdout.write(f"No known weakness in {len(packages)} packages.\n")
    return 0


def _not_audited(what: str, why: str) -> int:
    line = "!" * 100
    sys.stderr.write(f"{line}\n!! DEPENDENCIES NOT AUDITED: {what}. {why[:300]}\n{line}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
