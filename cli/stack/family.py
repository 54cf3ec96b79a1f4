"""The processes that a process started, and those started in turn."""

from pathlib import Path


def descendants(pid: int) -> dict[int, str]:
    """Every process below this one, with the time it was born, which tells it from a later one of the same number."""
    children: dict[int, list[int]] = {}
    births: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
            births[int(entry.name)] = fields[19]
    found: dict[int, str] = {}
    pending = list(children.get(pid, ()))
    while pending:
        child = pending.pop()
        found[child] = births[child]
        pending += children.get(child, ())
    return found


def birth(pid: int) -> str | None:
    """When the process was born, in the kernel's ticks; None if there is none."""
    fields = _stat(pid)
    return fields[19] if fields else None


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name: state, parent, …, [19] the time it started."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()
