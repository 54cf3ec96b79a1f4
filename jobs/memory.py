"""How much memory a job needs, reckoned from the model's shape and the job's words before anything is loaded.

Sizes are bytes. The tokens of a forward pass hold, in each block, what the backward pass will ask for: the inputs of
the adapters (and their dropout masks), queries, keys, values and answers of the attention, three FFN activations, the
residual stream in front of two norms and, if those learn, in float32 what they normalised. `docs/memory.md` holds these
figures against measured ones.

Legend: H hidden channels, Q query and K key or value channels, F FFN channels, V words, N tokens.
"""

from dataclasses import dataclass

from jobs import goals
from jobs.evaluations import EvaluationSpec
from jobs.shapes import QUANTISED_BLOCK, ModelShape
from jobs.specs import JobSpec, LoraPruneSpec, TrainSpec

PROCESS = 600_000_000
"""The interpreter with its libraries; on an accelerator, its context."""

BYTES_PER_WEIGHT = {"int8": 1 + 4 / QUANTISED_BLOCK, "nf4": 0.5 + 4 / QUANTISED_BLOCK}
BYTES_PER_FACTOR = 16
"""A LoRA weight, or a gain of a norm, in float32 with its gradient and two moments."""

BYTES_PER_LOGIT = 16
"""A logit in the model's dtype, in float32, its log-likelihood, and the gradients of both."""

LOSS_TOKENS = 256
"""Tokens whose logits are in memory at once while a model is trained or measured."""

HOLES = 0.4
"""What the C library cannot fill again between the activations and logits of a step, as a part of them."""

TRAINING_TOKENS = 4096
"""Tokens per forward pass when the spec leaves the micro-batch open: enough to fill the arithmetic units."""

CALIBRATION_TOKENS = 4096
"""Tokens that pass a block at once while it is cut."""

BYTES_PER_TRACED_WEIGHT = 16
"""A weight in 32 bits, in the model and once more in its graph, and what the exporter copies of both on the way."""

EVALUATION_TOKENS = 2048
"""Tokens per forward pass while a model is measured. Where it is held against the dense one, that one's logits wait."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What each part of a job holds, in bytes, and the most of it at once."""

    weights: int
    adapters: int
    activations: int
    logits: int
    holes: int
    teacher: int
    reconstruction: int
    verification: int
    conversion: int
    evaluation: int
    host: int = 0
    """What main memory must have beside an accelerator."""

    @property
    def training(self) -> int:
        """One forward and backward pass."""
        return PROCESS + self.weights + self.adapters + self.teacher + self.activations + self.logits + self.holes

    @property
    def cutting(self) -> int:
        """The widest layer's cut, with reconstruction."""
        return PROCESS + self.weights + self.adapters + self.teacher + self.reconstruction

    @property
    def proving(self) -> int:
        """The model in training answers in float64, one block at a time, and is merged."""
        return PROCESS + self.weights + self.adapters + self.teacher + self.verification

    @property
    def converting(self) -> int:
        """The merged model is traced as an ONNX graph."""
        return PROCESS + self.conversion

    @property
    def evaluating(self) -> int:
        """Dense and pruned side by side, where they must be whole, and their logits."""
        return PROCESS + self.evaluation

    @property
    def peak(self) -> int:
        """What the device must have."""
        return max(self.training, self.cutting, self.proving, self.converting, self.evaluating)


def estimate(
    shape: ModelShape, spec: JobSpec, *, accelerator: bool, processes: int = 1, bfloat16: bool = True
) -> Estimate:
    """What the device must have.

    Args:
        processes: one per device; each has its part of the batch.
        accelerator: whether the device is one; the merged model, and two that are compared, then may lie outside, and
            have but one block on it at a time.
        bfloat16: whether the device has its products in it where the spec leaves that open.
    """
    method, train = spec.method, spec.method.train
    tokens = micro_batch(train, max(1, train.batch_size // processes)) * train.sequence_length
    flowing = 2 if train.precision == "bfloat16" or (train.precision == "auto" and bfloat16) else 4
    held = 2 if shape.dtype == "bfloat16" and flowing == 2 else 4
    outside = shape.parameters - shape.block_parameters
    kept = shape.parameters - round(goals.wanted(shape, spec))
    traced = BYTES_PER_TRACED_WEIGHT * kept if "onnx" in spec.output.formats else 0
    written = 4 if (shape.dtype == "float32" and spec.output.dtype == "auto") or spec.output.dtype == "float32" else 2
    one_block = outside + shape.block_parameters // shape.layers
    compared = one_block if accelerator else shape.parameters + kept
    activations = _activations(shape, method, tokens, held=held, flowing=flowing)
    logits = min(tokens, LOSS_TOKENS) * shape.vocab * BYTES_PER_LOGIT
    head = 0 if held == flowing else flowing * shape.vocab * shape.hidden  # in the dtype of the products too
    return Estimate(
        weights=_weights(shape, train, held, processes),
        adapters=BYTES_PER_FACTOR * (_factors(shape, method.lora.rank) + (_gains(shape) if method.lora.norms else 0)),
        activations=activations,
        logits=logits + head,
        holes=0 if accelerator else round(HOLES * (activations + logits)),
        teacher=_teacher(shape, train, held, processes) if method.distillation.mode == "online" else 0,
        reconstruction=_reconstruction(shape, method, held, flowing) if method.reconstruction.enabled else 0,
        verification=max(8 * one_block, 0 if accelerator else 4 * kept),
        conversion=0 if accelerator else traced,
        evaluation=compared * written + logits + _waiting(shape, spec.evaluation) * written,
        # The merged model in float32, its graph, and then the larger one of two that take turns.
        host=PROCESS + max(4 * kept, traced, shape.parameters * written) if accelerator else 0,
    )


def processes(batch_size: int, devices: int) -> int:
    """Those that train together: one for each device, or as many fewer as a batch can be shared among evenly."""
    return max(number for number in range(1, devices + 1) if batch_size % number == 0)


def micro_batch(train: TrainSpec, share: int) -> int:
    """Sequences per forward pass of a process that has `share` of them: as asked, else the largest divisor of its
    share within `TRAINING_TOKENS`."""
    if train.micro_batch_size is not None:
        return train.micro_batch_size
    most = max(1, TRAINING_TOKENS // train.sequence_length)
    return max(size for size in range(1, share + 1) if share % size == 0 and size <= most)


def _weights(shape: ModelShape, train: TrainSpec, held: int, processes: int) -> int:
    """The frozen weights; of sharded ones a part, and the largest matrix, gathered and as it is used."""
    outside = (shape.parameters - shape.block_parameters) * held
    if train.shard_base and processes > 1:
        return outside + shape.block_parameters * held // processes + 2 * held * shape.hidden * shape.ffn
    return outside + round(shape.block_parameters * BYTES_PER_WEIGHT.get(train.base_precision, held))


def _factors(shape: ModelShape, rank: int) -> int:
    """LoRA weights: rank × (inputs + outputs) of q, k, v, o, gate, up and down."""
    hidden, query, key = shape.hidden, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    return shape.layers * rank * (2 * (hidden + query) + 2 * (hidden + key) + 3 * (hidden + shape.ffn))


def _gains(shape: ModelShape) -> int:
    """What the norms learn, the last one's included."""
    return shape.layers * shape.norms + shape.hidden


def _activations(shape: ModelShape, method: LoraPruneSpec, tokens: int, *, held: int, flowing: int) -> int:
    hidden, query, key = shape.hidden, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    masks = 1 if method.lora.dropout > 0 else 0
    adapters = (5 * hidden + query + shape.ffn) * (flowing + masks)
    attention = flowing * (2 * query + 2 * key)
    ffn = flowing * 3 * shape.ffn
    stream = held * hidden
    norms = 4 * shape.norms if method.lora.norms else 0
    one_block = tokens * (adapters + attention + ffn + 2 * stream + norms) + _casts(shape, method.train, held, flowing)
    if method.train.gradient_checkpointing:
        return shape.layers * tokens * stream + one_block
    return shape.layers * one_block


def _waiting(shape: ModelShape, asked: EvaluationSpec) -> int:
    """Logits that wait: a batch of the dense model's where both are compared, or lm-eval's with their distributions."""
    return EVALUATION_TOKENS * shape.vocab * (2 if asked.tasks else 1 if asked.agreement else 0)


def _teacher(shape: ModelShape, train: TrainSpec, held: int, processes: int) -> int:
    """The dense model in its own dtype, and what it says of the words: as many at once as of the model in training."""
    full = train.model_copy(update={"base_precision": "full"})
    return _weights(shape, full, held, processes) + LOSS_TOKENS * shape.vocab * BYTES_PER_LOGIT


def _casts(shape: ModelShape, train: TrainSpec, held: int, flowing: int) -> int:
    """The weights of one block in the dtype of the products, kept for the way back, and from step to step, unless they
    lie in it already."""
    if held == flowing or train.base_precision != "full" or train.shard_base:
        return 0
    return flowing * shape.block_parameters // shape.layers


def _reconstruction(shape: ModelShape, method: LoraPruneSpec, held: int, flowing: int) -> int:
    """Second moments of the widest gate in float64 with what solving needs; the streams of all calibration tokens."""
    widest = max(shape.ffn, shape.heads * shape.head_dim)
    moments = 8 * (4 * widest**2 + 5 * widest * shape.hidden)
    tokens = method.reconstruction.tokens_per_channel * widest
    streams = tokens * shape.hidden * (3 * held + 2 * flowing)  # as they were, are and differ, and both gates' answers
    inside = min(tokens, CALIBRATION_TOKENS) * held * (3 * shape.ffn + 4 * shape.hidden)
    return moments + streams + inside
