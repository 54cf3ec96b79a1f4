"""Who PostgreSQL runs as. It refuses to be root, so root starts it as a user without rights."""

import os
import pwd
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.stack.failures import NoUnprivilegedUser

_NOBODY = 65_534
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2


@dataclass(frozen=True)
class Identity:
    """A user, and the one capability it keeps where it could not reach its files otherwise."""

    uid: int
    gid: int
    capability: int | None = None

    def launch_options(self) -> list[str]:
        options = [f"--uid={self.uid}", f"--gid={self.gid}"]
        return options if self.capability is None else [*options, f"--capability={self.capability}"]


def unprivileged() -> Identity | None:
    """Whom to become before PostgreSQL starts; None for a user who is not root and simply stays."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return Identity(_NOBODY, _NOBODY)
    return Identity(entry.pw_uid, entry.pw_gid)


def give(path: Path, identity: Identity) -> None:
    """Make the identity the owner of a file, or of a folder with everything in it."""
    try:
        for each in (path, *path.rglob("*")):
            os.chown(each, identity.uid, identity.gid, follow_symlinks=False)
    except OSError as error:
        raise NoUnprivilegedUser(
            f"PostgreSQL refuses to run as root, and {path} cannot be given to user {identity.uid}: {error.strerror}.",
            hint="Run this as a user who is not root.",
        ) from error


def able_to_run(identity: Identity, probe: Sequence[str], directory: Path) -> Identity:
    """The identity with the smallest right beyond its own with which `probe` runs in `directory`.

    Programs and data may lie below a folder that only root may enter, such as /root. The user without rights then
    needs to pass through it, which is less than being root: first the right to read and search, and only where that
    is not to be had (a container's root often lacks it) or not enough, the right to write as well.
    """
    failures = []
    for capability in (None, _CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        candidate = Identity(identity.uid, identity.gid, capability)
        done = subprocess.run(
            launch_command(probe, directory, identity=candidate),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={"PATH": os.defpath},
            timeout=30,
            check=False,
        )
        if done.returncode == 0:
            return candidate
        failures.append(done.stderr.strip())
    reasons = "; ".join(dict.fromkeys(failures))
    raise NoUnprivilegedUser(
        f"PostgreSQL refuses to run as root, and user {identity.uid} cannot run it here: {reasons}.",
        hint="Run this as a user who is not root, or install Prunery and put --data where every user may enter.",
    )


def launch_command(
    program: Sequence[str],
    directory: Path,
    *,
    identity: Identity | None = None,
    death_signal: int | None = None,
) -> list[str]:
    """`program` preceded by what ties its life to ours and changes its user."""
    script = Path(__file__).with_name("launch.py")
    command = [sys.executable, "-I", "-S", str(script), f"--parent={os.getpid()}", f"--directory={directory}"]
    if death_signal is not None:
        command.append(f"--death-signal={int(death_signal)}")
    if identity is not None:
        command += identity.launch_options()
    return [*command, "--", *program]
