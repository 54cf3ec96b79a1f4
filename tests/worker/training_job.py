"""A job whose engine takes steps one by one, as far as a test lets it: see `children.trains`."""

from pathlib import Path

from tests.worker.desk import Desk, pids, wait_until


class TrainingJob:
    """The job, and the files by which its engine is led."""

    def __init__(self, desk: Desk, folder: Path, *, steps: int = 8, until: int = 0) -> None:
        folder.mkdir(exist_ok=True)
        self._desk = desk
        self._gate, self._trained, self._started = folder / "gate", folder / "trained", folder / "started"
        self._gate.write_text(str(until))
        self._trained.touch()
        files = {"gate": self._gate, "trained": self._trained, "started": self._started}
        self.id = desk.submit(steps=str(steps), **{name: str(file) for name, file in files.items()})

    def let(self, step: int) -> None:
        """It may go on to this step."""
        written = self._gate.with_suffix(".new")
        written.write_text(str(step))
        written.rename(self._gate)

    @property
    def trained(self) -> list[int]:
        """Every step that was taken, again or not."""
        return [int(line) for line in self._trained.read_text().split()]

    def engine(self, number: int = 1) -> int:
        """The process id of the engine that was started as the numberth."""
        return pids(self._started, number)[number - 1]

    def wait_for_step(self, step: int) -> None:
        """Until it is taken."""
        wait_until(lambda: step in self.trained)

    def wait_for_checkpoint(self, step: int) -> None:
        """Until that of this step is in object storage."""
        wait_until(lambda: step in self.saved)

    @property
    def saved(self) -> list[int]:
        """Steps of which a checkpoint was saved."""
        return [event.data["step"] for event in self._desk.events(self.id) if event.type == "checkpoint_saved"]
