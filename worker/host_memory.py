"""Whether the kernel has ended processes because memory ran out."""

from pathlib import Path

VMSTAT = Path("/proc/vmstat")


def kills() -> int | None:
    """How often it did since the machine began, in any control group; None where the kernel does not count."""
    try:
        lines = VMSTAT.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
