"""The dense model, in the precision and in the place in which it is trained on."""

import torch
from transformers import PreTrainedModel

from worker.engine import base_models, casting, devices, evaluation, quantised, ranks, sharded, training
from worker.engine.architectures import family
from worker.engine.job import Job

BASELINE_WINDOWS = 8


def ready(job: Job) -> PreTrainedModel:
    """What adapters are to be put on, once it is known to answer with numbers.

    That is worth knowing early; it is measured in full, and unrounded, beside the pruned model.
    """
    precision = job.spec.method.train.base_precision
    if precision != "full":  # an accelerator that is to hold it in 4 bits need not hold it in 16
        model = job.base.load(job.dtype, torch.device("cpu"))
        quantised.quantise(model, family(job.base.shape), precision, devices.own())
    else:
        model = load(job, job.dtype)
        if training.casts_once(job.spec.method.train, job.dtype):
            casting.cast_once(model, family(job.base.shape))
    base_models.let_go_of_files(model)
    evaluation.perplexity(model, job.held_out, BASELINE_WINDOWS)
    return model


def load(job: Job, dtype: torch.dtype) -> PreTrainedModel:
    """The model as it is, shared out among the processes if so asked."""
    if not job.spec.method.train.shard_base or ranks.count() == 1:
        return job.base.load(dtype)
    model = job.base.load(dtype, torch.device("cpu"))
    sharded.shard(model, family(job.base.shape), devices.own())
    return model
