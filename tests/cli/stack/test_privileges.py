"""Root starts PostgreSQL as a user without rights, wherever programs and data lie."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.stack import privileges, programs
from cli.stack.credentials import Credentials
from cli.stack.failures import NoUnprivilegedUser
from cli.stack.folder import DataFolder
from cli.stack.ports import free_block
from cli.stack.postgres import Postgres

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

DAC_OVERRIDE, DAC_READ_SEARCH = 1 << 1, 1 << 2


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A folder that root alone may enter, with PostgreSQL's programs in it."""
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    shutil.copytree(programs.postgres_program("postgres").parents[1], folder / "pginstall")
    return folder


@pytest.fixture
def data_folder(private: Path) -> Iterator[DataFolder]:
    folder = DataFolder(private / "data")
    folder.open()
    yield folder
    folder.close()


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize(("mode", "right"), [("u=rwX,go=rX", DAC_READ_SEARCH), ("u=rwX,go=", DAC_OVERRIDE)])
def test_below_a_folder_of_root_alone(
    private: Path, data_folder: DataFolder, monkeypatch: pytest.MonkeyPatch, mode: str, right: int
) -> None:
    os.system(f"chmod -R {mode} {private / 'pginstall'}")
    monkeypatch.setenv("PG_BIN_DIR", str(private / "pginstall" / "bin"))
    postgres = Postgres(data_folder, Credentials())
    postgres.prepare()
    process = postgres.start(free_block(1))
    try:
        process.wait_until(postgres.ready, seconds=60)
        seen = status(process.pid)
        nobody = privileges.unprivileged()
        assert nobody is not None
        assert set(seen["Uid"].split()) == {str(nobody.uid)}
        assert seen["Groups"] == ""
        assert {int(seen[name], 16) for name in ("CapEff", "CapPrm", "CapAmb")} == {right}
    finally:
        process.stop(10)
    assert process.returncode == 0


def test_no_right_is_kept_that_is_not_needed() -> None:
    nobody = privileges.unprivileged()
    assert nobody is not None
    assert privileges.able_to_run(nobody, ["/bin/sh", "-c", "test $(id -u) = " + str(nobody.uid)], Path("/")) == nobody


def test_program_that_nobody_can_run_is_an_error_with_a_way_out() -> None:
    nobody = privileges.unprivileged()
    assert nobody is not None
    with pytest.raises(NoUnprivilegedUser, match="as a user who is not root"):
        privileges.able_to_run(nobody, ["/no/such/program"], Path("/"))
