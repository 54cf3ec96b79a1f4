"""Whether a job that failed is tried again, when, and what is done differently then: one table, without any row.

| error | what happens |
|---|---|
| out_of_gpu_memory in training | half the micro-batch, the batch as it was; twice at most |
| out_of_host_memory | half the micro-batch where it is training; once |
| nan_loss, score_not_finite in training | half the learning rate, from the checkpoint before the last; once |
| killed from outside | tried again, which does not count as an attempt, up to a limit |
| storage_error, base_model_unavailable | the same, after growing pauses |
| gpu_fault | the same; its worker takes no further job |
| another error that may pass, such as a crash | tried again after growing pauses; at the same place twice: never |
| any other | fails |
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from jobs import errors
from jobs.tables import Json

TRAINING = frozenset({"reference_tuning", "scoring", "pruning", "recovering"})
"""Phases in which the micro-batch and the learning rate matter."""

ELSEWHERE = frozenset(
    error.code
    for error in (errors.StorageUnavailable, errors.BaseModelUnavailable, errors.EngineKilled, errors.GpuFault)
)
"""Not the job's fault, whoever's it is."""

LOST = frozenset({errors.LossNotFinite.code, errors.ScoreNotFinite.code})
"""One and the same mishap, told by whichever saw it first: scores do at a cut, the loss at every other step."""

MOST_BY_CODE = {errors.OutOfGpuMemory.code: 2, errors.OutOfHostMemory.code: 1, **dict.fromkeys(LOST, 1)}


@dataclass(frozen=True)
class Standing:
    """What counts about a job beside its error.

    `history` has the errors of its attempts since it was last begun or resumed, the oldest first, without this one.
    """

    history: Sequence[Json]
    attempts_left: int
    free_attempts: int = 0
    overrides: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Retry:
    """Begin again after so long; `overrides` come on top of those that the job has."""

    delay_seconds: float
    overrides: Json = field(default_factory=dict)
    is_free: bool = False
    is_last_checkpoint_suspect: bool = False


@dataclass(frozen=True)
class GiveUp:
    """The job has failed; `error` also says what was tried."""

    error: Json


def decide(
    error: Json, standing: Standing, *, backoff_seconds: float, longest_seconds: float, most_free: int
) -> Retry | GiveUp:
    """
    Args:
        error: as the client would be shown it.
        most_free: So often it may begin again through no fault of its own.
        backoff_seconds: The pause after the first failure; it doubles with each further one, up to `longest_seconds`.
    """
    code, history = error["code"], standing.history
    delay = min(longest_seconds, backoff_seconds * 2 ** len(history))
    if code in ELSEWHERE:
        if standing.free_attempts < most_free:
            return Retry(delay, is_free=True)
        return GiveUp(error | {"hint": f"It was tried {standing.free_attempts + 1} times. {error['hint']}".strip()})
    if standing.attempts_left <= 0 or not (error["retryable"] or code in MOST_BY_CODE):
        return GiveUp(error)
    if code in MOST_BY_CODE:
        return _otherwise(error, standing, delay)
    if any(_place(past) == _place(error) for past in history):
        return GiveUp(
            error
            | {"retryable": False, "hint": f"It fails at the same place each time: no use to go on. {error['hint']}"}
        )
    return Retry(delay)


def _otherwise(error: Json, standing: Standing, delay: float) -> Retry | GiveUp:
    """What a second try would do differently."""
    code, is_training = error["code"], error["phase"] in TRAINING
    alike = LOST if code in LOST else {code}
    if sum(past["code"] in alike for past in standing.history) >= MOST_BY_CODE[code]:
        return GiveUp(error)
    smaller = _smaller(error.get("micro_batch_size")) if is_training else None
    if code in LOST:
        factor = standing.overrides.get("learning_rate_factor") or 1.0
        overrides = {"learning_rate_factor": factor / 2}
        return Retry(0, overrides, is_last_checkpoint_suspect=True) if is_training else GiveUp(error)
    if smaller is not None:
        return Retry(0, {"micro_batch_size": smaller})
    if code == errors.OutOfHostMemory.code:
        return Retry(delay)
    if is_training:
        hint = "Not even one sequence fits: lower train.sequence_length, set train.gradient_checkpointing, or hold the "
        return GiveUp(error | {"hint": hint + "frozen weights in 8 or 4 bits (train.base_precision)."})
    return GiveUp(error)


def _smaller(micro_batch: int | None) -> int | None:
    """The largest divisor that is at most half; what the batch can be shared by stays so."""
    if micro_batch is None or micro_batch == 1:
        return None
    return max(size for size in range(1, micro_batch // 2 + 1) if micro_batch % size == 0)


def _place(error: Json) -> tuple[object, object, object]:
    return error.get("phase"), error.get("step"), error["code"]
