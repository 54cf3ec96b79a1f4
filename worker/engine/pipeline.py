"""The whole story of a job: load, measure, train and prune, cut, write, reload, measure again, report."""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from jobs import errors, formats, goals, memory, shapes
from jobs.memory import Estimate
from jobs.specs import JobSpec
from worker.engine import (
    account,
    adapters,
    alignment,
    base_models,
    capacity,
    casting,
    certificate,
    datasets,
    dense,
    export,
    forms,
    harness,
    identity,
    measurement,
    merging,
    methods,
    padding,
    papers,
    per_layer_config,
    quantised,
    ranks,
    schedule,
    sharded,
    story,
    training,
    verification,
)
from worker.engine.architectures import family
from worker.engine.base_models import BaseModel
from worker.engine.checkpoints import Checkpoints
from worker.engine.job import Inputs, Job
from worker.engine.merging import Merged
from worker.engine.methods import teachers
from worker.engine.methods.outcome import Task
from worker.engine.orders import Order, Orders
from worker.engine.plan import Plan
from worker.engine.report import Finetuned
from worker.engine.reporter import Reporter
from worker.engine.verification import Proof
from worker.engine.windows import Windows


def compress(
    spec: JobSpec,
    inputs: Inputs,
    out: Path,
    work: Path,
    reporter: Reporter,
    checkpoints: Path | None = None,
    orders: Orders | None = None,
) -> dict[str, Any]:
    """Write the smaller model to `out` and answer with the summary of the report.

    Args:
        work: for files that nobody needs afterwards.
        checkpoints: the folder of the job's checkpoints. If it has some, the job goes on from the newest that is whole.
        orders: heard after each training step and before each phase.
    Raises:
        PruneryError: with the reason; `out` is then not to be used.
        Stopped: that was ordered.
    """
    job = _prepare(spec, inputs, work, reporter, checkpoints, orders or Orders())
    with job.phase("baseline_eval"):
        model = dense.ready(job)
    _announce(job)
    finetuned, model = _reference(job, model)
    with job.phase("scoring"):
        outcome = methods.run(_task(job, model), job.spec.method)
    casting.let_go(model)
    sharded.reunite(model)
    is_first = ranks.is_first()
    ranks.part()
    if not is_first:  # the model is the same in all processes; one is enough to merge and to publish it
        return {}
    with job.phase("merging"):
        probe_BT = verification.probe(job.held_out)
        merged = merging.merge(model, family(job.base.shape), probe_BT)
    del model
    gc.collect()  # the Trainer and its callbacks hold each other, and the model with them
    merged_difference, proof = _publishable(job, outcome.plan, merged, probe_BT, out)
    proofs = forms.write(job, out, outcome.plan)
    with job.phase("evaluating"):
        measured = measurement.of_result(job.base, out, job.material, dtype=job.output_dtype, plan=outcome.plan)
    reporter.held_out("pruned", measured.held_out.pruned)
    done = account.settle(
        job.base,
        job.spec,
        tokenizer=job.tokenizer,
        measured=measured,
        outcome=outcome,
        finetuned=finetuned,
        merged_difference=merged_difference,
        proof=proof,
        seconds=job.story.seconds,
        history=reporter.history,
    )
    papers.write(out, spec, job.base, done, proofs)
    certificate.write(out, certificate.of_reload(proof), proofs.gguf, onnx=proofs.onnx)
    forms.complete(job, out, done, proofs)
    return done.summary()


def _prepare(
    spec: JobSpec, inputs: Inputs, work: Path, reporter: Reporter, checkpoints: Path | None, orders: Orders
) -> Job:
    reporter.phase("downloading_base")
    harness.check(spec.evaluation.tasks)
    base = base_models.prepare(inputs.model, work)
    train = spec.method.train
    window = spec.evaluation.window or train.sequence_length
    further = [protocol.window for protocol in spec.evaluation.perplexities]
    shapes.check_sequence_length(base.shape, max([train.sequence_length, window, *further]))
    shapes.check_scope(base.shape, spec.method.scope)
    formats.check(base.shape, spec.output.formats, spec.method.ffn_multiple)
    goal = goals.goal(base.shape, spec)
    shapes.check_base_held(base.shape, train.base_precision, sharded=train.shard_base)
    if train.base_precision != "full":
        quantised.check_installed()
    needed = _needed(base, spec)
    capacity.check(needed, capacity.available(), capacity.in_main_memory())
    reporter.log(f"About {needed.peak / 1e9:.1f} GB of memory are needed at the peak.")
    reporter.phase("loading_data")
    tokenizer = base.tokenizer()
    forms.check(spec.output.formats, tokenizer)
    base.generation_config()  # better refused now than when the result is to be written
    windows = datasets.read(inputs.training, tokenizer, length=train.sequence_length, seed=spec.seed)
    if inputs.held_out is None:
        windows, held_out = windows.split(spec.evaluation.validation_split)
        held_out = held_out.resized(window)
    else:
        held_out = datasets.read(inputs.held_out, tokenizer, length=window, seed=spec.seed)
    material = measurement.prepare(spec.evaluation, inputs.texts, tokenizer, held_out, spec.seed)
    texts = [windows, held_out, *(protocol.windows for protocol in material.protocols)]
    schedule.check(training.total_steps(len(windows), train), spec.method)
    _check_tokens(base, tokenizer, texts, spec.evaluation.prompts)
    reporter.log(
        f"{len(windows)} training windows of {train.sequence_length} tokens, "
        f"{min(len(held_out), spec.evaluation.max_windows)} held-out windows of {held_out.ids_NT.shape[1]}."
    )
    keeping = None
    if checkpoints is not None:
        keeping = Checkpoints(checkpoints, identity.of(spec, base.folder, (windows, held_out)))
    opened = story.opened(keeping, reporter, spec.checkpoint)
    spec = teachers.settled(spec, opened, lambda settled: _needed(base, settled).peak <= capacity.available())
    return Job(spec, base, tokenizer, windows, held_out, material, goal, work, reporter, opened, orders)


def _needed(base: BaseModel, spec: JobSpec) -> Estimate:
    return memory.estimate(
        base.shape,
        spec,
        accelerator=torch.cuda.is_available(),
        processes=ranks.count(),
        bfloat16=training.uses_bfloat16(spec.method.train),
    )


def _check_tokens(
    base: BaseModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[Windows], prompts: Sequence[str]
) -> None:
    """Raises BaseModelIncomplete if the tokenizer writes a token that the model has no embedding for."""
    largest = max(int(windows.ids_NT.max()) for windows in texts)
    largest = max([largest, *(token for prompt in prompts for token in tokenizer(prompt).input_ids)])
    if largest >= base.shape.vocab:
        raise errors.BaseModelIncomplete(
            f"The tokenizer of {base.name} writes token {largest}, but the model knows {base.shape.vocab} tokens only.",
            hint="Give the tokenizer that the model was trained with.",
        )


def _announce(job: Job) -> None:
    shape, goal = job.base.shape, job.goal
    steps = training.total_steps(len(job.training), job.spec.method.train)
    runs = 2 if job.spec.evaluation.finetuned_reference else 1
    job.reporter.training(steps * runs, goal.ratio(shape))
    job.reporter.log(
        f"{goal.words(shape)}: {goal.removed:,} of {shape.block_parameters:,} block parameters go "
        f"({goal.ratio(shape):.2%}; asked: {goals.wanted(shape, job.spec) / shape.block_parameters:.2%})."
    )


def _reference(job: Job, model: PreTrainedModel) -> tuple[Finetuned | None, PreTrainedModel]:
    """Perplexity of the dense model after the same fine-tuning, and the dense model as it was before.

    A job that is to finish early goes without: after fewer steps it would be no reference.
    """
    (is_to_finish,) = ranks.as_first_says([job.orders.current() is Order.FINISH])
    if not job.spec.evaluation.finetuned_reference or is_to_finish:
        return None, model
    if "finetuned" in job.story:
        return Finetuned.model_validate(job.story["finetuned"]), model
    with job.phase("reference_tuning"):
        method, saving = job.spec.method, job.story.saving("reference_tuning")
        adapted = adapters.attach(model, family(job.base.shape), method.lora, seed=job.spec.seed)
        training.recompute(model, method.train)
        alignment.begin(model, family(job.base.shape), job.training.shuffled(job.spec.seed), method, saving)
        complete = training.train(
            adapted,
            job.training,
            method.train,
            seed=job.spec.seed,
            folder=job.work,
            reporter=job.reporter,
            saving=saving,
            orders=job.orders,
        )
        if not complete:
            job.reporter.log("The job is to finish early: the fine-tuned dense model is left out.", "warning")
            return None, adapters.detach(adapted)
        # Not through `adapted`, whose forward the Trainer left in mixed precision.
        perplexity = job.perplexity(model)
        job.reporter.held_out("dense_finetuned", perplexity)
        finetuned = Finetuned(perplexity=perplexity, dtype=str(job.dtype).removeprefix("torch."))
    job.story.keep("finetuned", finetuned.model_dump())
    return finetuned, adapters.detach(adapted)


def _task(job: Job, model: PreTrainedModel) -> Task:
    return Task(
        model=model,
        family=family(job.base.shape),
        shape=job.base.shape,
        goal=job.goal,
        windows=job.training,
        held_out=job.held_out,
        seed=job.spec.seed,
        work=job.work,
        reporter=job.reporter,
        load_dense=lambda: dense.load(job, job.base.dtype),
        saving=job.story.saving("pruning"),
        orders=job.orders,
    )


def _publishable(job: Job, plan: Plan, merged: Merged, probe_BT: Tensor, out: Path) -> tuple[float, Proof]:
    """Cut, prove the cut, write, and prove what was written; the logit difference of the first, and the second."""
    shape = job.base.shape
    with job.phase("exporting"):
        base_config = job.base.stock_config()
        config = export.stock_config(base_config, shape, plan)
        state = padding.padded(merged.state, family(shape), shape, plan)
        model = export.assemble(config, state)
        merged.state.clear()  # the model holds them now, and is to be rounded without a second copy
        logits_BTV = verification.exact_answers(model, probe_BT)
        difference = verification.check_cut(merged.logits_BTV, logits_BTV)
        export.round_weights(model, job.output_dtype)
        export.save(
            model, job.tokenizer, job.base.generation_config(), out, max_shard_bytes=job.spec.output.max_shard_bytes
        )
        per_layer_config.write(out, shape, plan.layout)
        # A file in 16 bits must answer as the rounded weights do.
        expected_BTV = verification.exact_answers(model, probe_BT)
    del model
    with job.phase("verifying"):
        return difference, verification.certify(out, probe_BT, expected_BTV, job.work)
