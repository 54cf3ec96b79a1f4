"""What a job has come to so far, kept in its checkpoints, so that what was done once is not done again."""

from pathlib import Path
from typing import Any

from jobs.specs import CheckpointSpec
from worker.engine import ranks
from worker.engine.checkpoints import Checkpoint, Checkpoints
from worker.engine.reporter import Reporter
from worker.engine.saving import Saving


class Story:
    """Results by name, as JSON holds them, and the seconds that each phase took."""

    def __init__(
        self,
        reporter: Reporter,
        checkpoints: Checkpoints | None = None,
        resumed: Checkpoint | None = None,
        often: CheckpointSpec | None = None,
    ) -> None:
        """Without `checkpoints` nothing is kept."""
        self._reporter = reporter
        self._checkpoints = checkpoints
        self._resumed = resumed
        self._often = often or CheckpointSpec()
        self._results: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        if resumed is not None:
            self._results = resumed.job["results"]
            self.seconds = resumed.job["seconds"]
            reporter.restore(resumed.job["told"])

    def spent(self, phase: str, seconds: float) -> None:
        """A phase took so long, or so much longer."""
        self.seconds[phase] = round(self.seconds.get(phase, 0) + seconds, 2)

    def __contains__(self, name: object) -> bool:
        return name in self._results

    def __getitem__(self, name: str) -> Any:
        return self._results[name]

    def keep(self, name: str, result: Any) -> None:
        """Note a result, in a checkpoint of its own."""
        self._results[name] = result
        if self._checkpoints is not None and ranks.is_first():
            self._checkpoints.writing.mkdir(exist_ok=True)
            self._commit(self._checkpoints.writing, None)

    def saving(self, run: str) -> Saving | None:
        """How one training run keeps its state, and where it goes on from."""
        if self._checkpoints is None:
            return None
        interrupted = self._resumed if self._resumed is not None and self._resumed.run == run else None
        return Saving(
            folder=self._checkpoints.writing,
            often=self._often,
            commit=lambda written, perplexity: self._commit(written, run, perplexity),
            resume_from=None if interrupted is None else interrupted.folder,
        )

    def _commit(self, written: Path, run: str | None, perplexity: float | None = None) -> None:
        assert self._checkpoints is not None
        job = {"results": self._results, "seconds": self.seconds, "told": self._reporter.state()}
        self._checkpoints.commit(
            written,
            step=self._reporter.current_step,
            run=run,
            job=job,
            sparsity=self._reporter.sparsity,
            perplexity=perplexity,
        )


def opened(checkpoints: Checkpoints | None, reporter: Reporter, often: CheckpointSpec) -> Story:
    """The story so far: what the newest whole checkpoint holds, if there is one.

    Raises:
        CheckpointMismatch: it is another job's.
    """
    if checkpoints is None:
        return Story(reporter)
    if ranks.is_first():
        checkpoints.clear()
    ranks.wait()
    resumed, damaged = checkpoints.newest()
    for fault in damaged:
        reporter.log(f"A checkpoint is damaged and not used: {fault}.", "warning")
    if resumed is not None:
        step = resumed.job["told"]["done_steps"]
        reporter.log(f"Going on from {resumed.folder.name}, after {step} optimizer steps.")
    return Story(reporter, checkpoints, resumed, often)
