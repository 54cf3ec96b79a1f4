"""What every criterion looks like to those who prune by it."""

from typing import ClassVar, Protocol

from worker.engine.plan import Plan, Scores


class Scorer(Protocol):
    """One criterion at work on one bare `...ForCausalLM` with adapters.

    It may hook the model from its construction to `close`. It holds nothing from one step to the next: what must
    survive a checkpoint is in the running average. What differs between processes is summed over them in `take`, so
    that all of them get the same scores.
    """

    per_parameter: ClassVar[bool]
    """How units of different layers and kinds are held against each other: by their scores divided by what they cost
    (sums over what is removed, in one unit of measure), or else by their scores as they are (which may be negative)."""
    one_by_one: ClassVar[bool] = False
    """Whether a sequence by itself tells more than one of a batch, in whose gradient their differences cancel out."""

    def take(self, plan: Plan) -> Scores:
        """What the model as it is now, cut to `plan`, earned since the last call.

        To be called once per optimizer step, between its last backward pass and the step itself. Gradients may be
        scaled or clipped by a factor common to all: it drops out. So does the number of tokens by which a loss is
        divided, as long as it is the same for all micro-batches of the step.

        Returns:
            float32 tensors on the model's device.
        """

    def close(self) -> None:
        """Leave the model as it was."""
        return
