"""Every way in which a request or a job can go wrong, as one tree.

PruneryError
├── RequestRefused              the request itself is wrong; nothing was stored
│   ├── InvalidSpec             a key, a type or a bound
│   ├── Unauthorized            no key, or a wrong one
│   ├── NotFound                no such job, file or artifact
│   ├── InvalidCursor           a list cursor that is not ours
│   ├── BodyTooLarge            more bytes than the limit
│   ├── StateConflict           the job is not in a state that allows this
│   └── RangeNotSatisfiable     bytes beyond the end of an artifact
├── BaseModelError              the model to compress cannot be used
│   ├── BaseModelNotFound, BaseModelGated
│   ├── BaseModelUnavailable    the place it lives did not answer; may be retried
│   ├── BaseModelIncomplete     no config.json, or no weights
│   └── NotACausalLM, UnsupportedArchitecture, PickleWeights
├── DatasetError                the text to train or evaluate on cannot be used
│   └── DatasetNotFound, DatasetEmpty, DatasetInvalid, DatasetTooShort
├── PlanError                   what was asked cannot be planned
│   └── SequenceTooLong, TargetUnreachable, EvaluationImpossible
└── RunError                    the job started and could not go on
    ├── LossNotFinite
    ├── ScoreNotFinite
    ├── VerificationFailed      the exported model is not the trained one
    ├── OutOfDisk, OutOfGpuMemory
    ├── StorageUnavailable      object storage or database; may be retried
    ├── WorkerLost
    └── EngineCrashed           the engine process ended without a word

Each class carries the stable `code` that clients match on, the HTTP `status` that the API answers with, and whether
the same request may succeed later.
"""

from typing import ClassVar

from jobs.fields import FieldError as FieldError  # named from here by those who raise


class PruneryError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str, *, hint: str = "", errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.errors = errors

    def __str__(self) -> str:
        return f"{self.detail} {self.hint}".rstrip()


class RequestRefused(PruneryError):
    """The request itself is wrong."""

    code = "bad_request"
    status = 400
    title = "Bad request"


class InvalidSpec(RequestRefused):
    """A key, a type or a bound of the request does not hold; `errors` says which."""

    code = "invalid_spec"
    status = 422
    title = "The request does not describe a job"


class Unauthorized(RequestRefused):
    """The API key is missing or wrong."""

    code = "unauthorized"
    status = 401
    title = "A valid API key is needed"


class NotFound(RequestRefused):
    """There is nothing of ours under this id."""

    code = "not_found"
    status = 404
    title = "Not found"


class InvalidCursor(RequestRefused):
    """The cursor of a list does not come from us."""

    code = "invalid_cursor"
    title = "Unknown list cursor"


class BodyTooLarge(RequestRefused):
    """The request body is over the limit."""

    code = "body_too_large"
    status = 413
    title = "The body is too large"


class StateConflict(RequestRefused):
    """The job's state does not allow this; `allowed` lists what it does allow."""

    code = "invalid_state_transition"
    status = 409
    title = "Not possible in this state"

    def __init__(self, detail: str, *, allowed: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.allowed = allowed


class RangeNotSatisfiable(RequestRefused):
    """The bytes asked for lie beyond the end."""

    code = "range_not_satisfiable"
    status = 416
    title = "No such bytes"

    def __init__(self, detail: str, *, size: int) -> None:
        super().__init__(detail)
        self.size = size


class BaseModelError(PruneryError):
    """The model to compress cannot be used."""

    code = "base_model_invalid"
    status = 422
    title = "The base model cannot be used"


class BaseModelNotFound(BaseModelError):
    """There is no such model, folder, file or revision."""

    code = "base_model_not_found"


class BaseModelGated(BaseModelError):
    """The model's owner asks for consent or a token first."""

    code = "base_model_gated"


class BaseModelUnavailable(BaseModelError):
    """The place where the model lives did not answer."""

    code = "base_model_unavailable"
    status = 503
    retryable = True


class BaseModelIncomplete(BaseModelError):
    """The folder lacks its config.json or its weights."""

    code = "base_model_incomplete"


class NotACausalLM(BaseModelError):
    """The model is not a causal language model."""

    code = "not_a_causal_lm"


class UnsupportedArchitecture(BaseModelError):
    """The model's family, or a variant of it, is not supported."""

    code = "unsupported_architecture"


class PickleWeights(BaseModelError):
    """The weights exist as pickle only, which can run code when read."""

    code = "pickle_weights"


class DatasetError(PruneryError):
    """The text to train or to evaluate on cannot be used."""

    code = "dataset_invalid"
    status = 422
    title = "The data set cannot be used"


class DatasetNotFound(DatasetError):
    """There is no such file, path, prefix or data set."""

    code = "dataset_not_found"


class DatasetEmpty(DatasetError):
    """There is no text in it."""

    code = "dataset_empty"


class DatasetInvalid(DatasetError):
    """A row has another shape than the ones we read."""


class DatasetTooShort(DatasetError):
    """The text is shorter than one training or evaluation window."""

    code = "dataset_too_short"


class PlanError(PruneryError):
    """What was asked cannot be planned."""

    code = "plan_impossible"
    status = 422
    title = "The request cannot be met"


class SequenceTooLong(PlanError):
    """The sequence length is beyond what the model was made for."""

    code = "sequence_too_long"


class TargetUnreachable(PlanError):
    """No widths within the rounding asked give the ratio asked."""

    code = "target_unreachable"


class EvaluationImpossible(PlanError):
    """What is to be measured cannot be: a task that nobody knows, or an extra that is not installed."""

    code = "evaluation_impossible"


class RunError(PruneryError):
    """The job started and could not go on."""

    code = "run_failed"
    title = "The job could not go on"


class LossNotFinite(RunError):
    """The training loss became NaN or infinite."""

    code = "nan_loss"


class ScoreNotFinite(RunError):
    """An importance score became NaN or infinite."""

    code = "score_not_finite"


class VerificationFailed(RunError):
    """The exported model, reloaded, does not answer as the trained one did."""

    code = "verification_failed"


class OutOfDisk(RunError):
    """The disk is full."""

    code = "out_of_disk"
    status = 507
    title = "The disk is full"


class OutOfGpuMemory(RunError):
    """The accelerator's memory is full."""

    code = "out_of_gpu_memory"


class StorageUnavailable(RunError):
    """Object storage or the database did not answer."""

    code = "storage_error"
    status = 503
    title = "Storage is unavailable"
    retryable = True


class WorkerLost(RunError):
    """The worker that had the job stopped answering, as often as is allowed."""

    code = "worker_lost"
    retryable = True


class EngineCrashed(RunError):
    """The engine process ended without a word: killed from outside, or out of host memory."""

    code = "engine_crashed"
    retryable = True
