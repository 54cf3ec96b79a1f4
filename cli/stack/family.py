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


def lives(pid: int, born: str) -> bool:
    """Whether the process that was born then still runs; one that nobody has buried yet does not."""
    fields = _stat(pid)
    return fields is not None and fields[19] == born and fields[0] != "Z"


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name: state, parent, …, [19] the time it started."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()
