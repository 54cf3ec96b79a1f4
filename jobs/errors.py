"""Every way in which a request or a job can go wrong, as one tree.

PruneryError
├── RequestRefused              the request itself is wrong; nothing was stored
│   ├── InvalidSpec             a key, a type or a bound
│   ├── Unauthorized            no key, or a wrong one
│   ├── Forbidden               the key may not do this
│   ├── NotFound                no such job, file or artifact in the caller's project
│   │   └── RepositoryNotFound, RevisionNotFound, EntryNotFound   of models
│   ├── NameTaken, KeyNotValid, ProjectNotEmpty
│   ├── InvalidCursor           a list cursor that is not ours
│   ├── QuotaExceeded           the project has all that it may have
│   ├── RateLimited             the key asks too often
│   ├── BodyTooLarge            more bytes than the limit
│   ├── OffsetMismatch, BodyMismatch    of uploads: not the bytes that follow, or not those announced
│   ├── IdempotencyKeyReused, RequestInFlight   sent again, but not the same; not yet answered
│   ├── VersionMismatch         not as the client knows it
│   ├── StateConflict           the job is not in a state that allows this
│   ├── CheckpointNotPublishable    nothing has been removed by then
│   ├── RangeNotSatisfiable     bytes beyond the end of an artifact
│   ├── FileInUse               a job that has not ended needs the file
│   ├── VersionInUse            a branch or an alias stands for the version of a model
│   └── AddressRefused, TooManyEndpoints    of webhooks: an address that we must not call, or one too many
├── BaseModelError              the model to compress cannot be used
│   ├── BaseModelNotFound, BaseModelGated
│   ├── BaseModelUnavailable    the place it lives did not answer; may be retried
│   ├── BaseModelIncomplete     no config.json, or no weights
│   └── NotACausalLM, UnsupportedArchitecture, PickleWeights
├── DatasetError                the text to train or evaluate on cannot be used
│   └── DatasetNotFound, DatasetEmpty, DatasetInvalid, DatasetTooShort
├── PlanError                   what was asked cannot be planned
│   ├── SequenceTooLong, BatchIndivisible, TargetUnreachable, LayerWithoutUnits, ScopeImpossible, ScheduleImpossible
│   └── EvaluationImpossible, BasePrecisionImpossible, FormatImpossible, ShardingImpossible, DoesNotFit
└── RunError                    the job started and could not go on
    ├── LossNotFinite, ScoreNotFinite
    ├── CheckpointMismatch      the checkpoint to go on from is another job's
    ├── CheckpointLost          the one to publish is not whole any more
    ├── VerificationFailed      the exported model is not the trained one
    ├── OutOfDisk, OutOfGpuMemory, OutOfHostMemory
    ├── GpuFault                the accelerator has failed; its worker takes no further job
    ├── StorageUnavailable      object storage or database; may be retried
    ├── DeadlineExceeded, MaxRuntimeExceeded
    ├── WorkerLost, Stalled, EngineCrashed, EngineKilled   nobody tells why: worker or engine are gone, or silent
    └── SecretUnreadable        what was encrypted cannot be decrypted any more

Each class carries the stable `code` that clients match on, the HTTP `status` that the API answers with, and whether
the same request may succeed later.
"""

from jobs.fields import FieldError as FieldError  # named from here by those who raise
from jobs.refusals import AddressRefused as AddressRefused
from jobs.refusals import BodyMismatch as BodyMismatch
from jobs.refusals import BodyTooLarge as BodyTooLarge
from jobs.refusals import CheckpointNotPublishable as CheckpointNotPublishable
from jobs.refusals import EntryNotFound as EntryNotFound
from jobs.refusals import FileInUse as FileInUse
from jobs.refusals import Forbidden as Forbidden
from jobs.refusals import IdempotencyKeyReused as IdempotencyKeyReused
from jobs.refusals import InvalidCursor as InvalidCursor
from jobs.refusals import InvalidSpec as InvalidSpec
from jobs.refusals import KeyNotValid as KeyNotValid
from jobs.refusals import NameTaken as NameTaken
from jobs.refusals import NotFound as NotFound
from jobs.refusals import OffsetMismatch as OffsetMismatch
from jobs.refusals import ProjectNotEmpty as ProjectNotEmpty
from jobs.refusals import PruneryError as PruneryError
from jobs.refusals import QuotaExceeded as QuotaExceeded
from jobs.refusals import RangeNotSatisfiable as RangeNotSatisfiable
from jobs.refusals import RateLimited as RateLimited
from jobs.refusals import RepositoryNotFound as RepositoryNotFound
from jobs.refusals import RequestInFlight as RequestInFlight
from jobs.refusals import RequestRefused as RequestRefused
from jobs.refusals import RevisionNotFound as RevisionNotFound
from jobs.refusals import StateConflict as StateConflict
from jobs.refusals import TooManyEndpoints as TooManyEndpoints
from jobs.refusals import Unauthorized as Unauthorized
from jobs.refusals import VersionInUse as VersionInUse
from jobs.refusals import VersionMismatch as VersionMismatch
from jobs.run_errors import CheckpointLost as CheckpointLost
from jobs.run_errors import CheckpointMismatch as CheckpointMismatch
from jobs.run_errors import DeadlineExceeded as DeadlineExceeded
from jobs.run_errors import EngineCrashed as EngineCrashed
from jobs.run_errors import EngineKilled as EngineKilled
from jobs.run_errors import GpuFault as GpuFault
from jobs.run_errors import LossNotFinite as LossNotFinite
from jobs.run_errors import MaxRuntimeExceeded as MaxRuntimeExceeded
from jobs.run_errors import OutOfDisk as OutOfDisk
from jobs.run_errors import OutOfGpuMemory as OutOfGpuMemory
from jobs.run_errors import OutOfHostMemory as OutOfHostMemory
from jobs.run_errors import RunError as RunError
from jobs.run_errors import ScoreNotFinite as ScoreNotFinite
from jobs.run_errors import SecretUnreadable as SecretUnreadable
from jobs.run_errors import Stalled as Stalled
from jobs.run_errors import StorageUnavailable as StorageUnavailable
from jobs.run_errors import VerificationFailed as VerificationFailed
from jobs.run_errors import WorkerLost as WorkerLost


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


class BatchIndivisible(PlanError):
    """The processes that train together cannot have equal parts of a batch."""

    code = "batch_indivisible"


class ShardingImpossible(PlanError):
    """The weights that a cut changes were to be spread over several devices."""

    code = "sharding_impossible"


class TargetUnreachable(PlanError):
    """No widths within the rounding asked give the ratio asked."""

    code = "target_unreachable"


class ScopeImpossible(PlanError):
    """No stock class of the model's family could hold what is left without these units."""

    code = "scope_impossible"


class ScheduleImpossible(PlanError):
    """The schedule of cuts cannot do what the target needs."""

    code = "schedule_impossible"


class LayerWithoutUnits(PlanError):
    """A layer would be left with nothing, or no layer would be left."""

    code = "layer_without_units"


class EvaluationImpossible(PlanError):
    """What is to be measured cannot be: a task that nobody knows, or an extra that is not installed."""

    code = "evaluation_impossible"


class BasePrecisionImpossible(PlanError):
    """The frozen weights cannot be held in 8 or 4 bits: the model is not made for it, or a library is missing."""

    code = "base_precision_impossible"


class FormatImpossible(PlanError):
    """The result cannot be written in a format that is asked for."""

    code = "format_impossible"


class DoesNotFit(PlanError):
    """The job needs more memory than the device has."""

    code = "does_not_fit"
