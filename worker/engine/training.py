"""Training the adapters: one run of the Trainer, told as it goes, stopped by name when the loss is lost."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from jobs import errors, memory
from jobs.specs import TrainSpec
from worker.engine import optimizer, ranks, training_loss
from worker.engine.orders import Order, Orders, Stopped
from worker.engine.reporter import Reporter
from worker.engine.saving import Keeper, Saving
from worker.engine.teachers import Numbered, Teaching
from worker.engine.windows import IGNORED, Windows


def total_steps(windows: int, spec: TrainSpec) -> int:
    """Optimizer steps of one run."""
    return spec.steps or max(1, math.ceil(spec.epochs * math.ceil(windows / spec.batch_size)))


def micro_batch(spec: TrainSpec) -> int:
    """Sequences per forward pass: as asked, else the largest divisor of a process's share that stays within bounds.

    Raises:
        BatchIndivisible: the processes cannot have equal shares.
    """
    share = ranks.share_of(spec.batch_size)
    if spec.micro_batch_size is not None and share % spec.micro_batch_size:
        raise errors.BatchIndivisible(
            f"micro_batch_size {spec.micro_batch_size} does not divide the {share} sequences of each process.",
            hint="Leave micro_batch_size open, or choose one that divides them.",
        )
    return memory.micro_batch(spec, share)


def uses_bfloat16(spec: TrainSpec) -> bool:
    """Whether matrix products run in bfloat16; `auto` says yes where that is quicker.

    Of x86 processors that is so with matrix tiles (AMX), and with AMD's vector instructions (AVX-512 BF16), which do
    more than twice the work of those for float32: on a Zen 4 a training step of a small model took 0.65 times as long.
    On a processor of another kind that has the like it took 1.6 times as long.
    """
    if spec.precision != "auto":
        return spec.precision == "bfloat16"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    if capabilities["architecture"] == "x86_64":
        by_amd = capabilities.get("sse4a")  # which no other maker has; brands are as a hypervisor likes them
        return bool(capabilities.get("amx_bf16") or (capabilities.get("avx512_bf16") and by_amd))
    # Builds of PyTorch without oneDNN do not know the question: they have no such products.
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return supported is not None and bool(supported())


def casts_once(spec: TrainSpec, held: torch.dtype) -> bool:
    """Whether weights held in `held` are to be kept in the dtype of the products too: not where memory is to be saved
    for time, or where no process has a whole weight."""
    return uses_bfloat16(spec) and held == torch.float32 and not (spec.gradient_checkpointing or spec.shard_base)


def recompute(model: PreTrainedModel, spec: TrainSpec) -> None:
    """If so asked, have passes from now on compute activations anew on their way back; the Trainer does so too late for
    those before its first step."""
    if spec.gradient_checkpointing:
        model.activation_checkpointing_enable()


def add_gradients(model: PreTrainedModel, ids_BT: Tensor, labels_BT: Tensor, spec: TrainSpec) -> None:
    """Those of the mean loss over a batch, in micro-batches, as a step has them; the model is bare but for adapters."""
    ids_BT, labels_BT = ids_BT.long().to(model.device), labels_BT.long().to(model.device)
    size, bfloat16 = micro_batch(spec), uses_bfloat16(spec)
    learned = (labels_BT[:, 1:] != IGNORED).sum().clamp_min(1)
    for ids_bT, labels_bT in zip(ids_BT.split(size), labels_BT.split(size), strict=True):
        training_loss.of(model, ids_bT, labels_bT, learned, bfloat16=bfloat16).backward()


def train(
    model: PeftModel,
    windows: Windows,
    spec: TrainSpec,
    *,
    seed: int,
    folder: Path,
    reporter: Reporter,
    callbacks: Sequence[TrainerCallback] = (),
    saving: Saving | None = None,
    add_state: Callable[[Path], None] = lambda folder: None,
    teaching: Teaching | None = None,
    orders: Orders | None = None,
    may_finish: Callable[[], bool] = lambda: True,
    measure: Callable[[], float | None] = lambda: None,
) -> bool:
    """Train the adapters in place; the same seed gives the same order of the same windows.

    Args:
        saving: to keep checkpoints, and to go on from one: the model must be cut as it was then.
        add_state: writes into a checkpoint what `callbacks` need to go on.
        teaching: whose beliefs to learn beside the text; without it the loss is the cross-entropy alone.
        orders: heard after each step.
        may_finish: whether there would be something to publish if the run ended now.
        measure: how well the model predicts held-out text, for the checkpoints.

    Returns:
        Whether all steps were taken; False if the run was to finish early.

    Raises:
        LossNotFinite: the loss or a gradient became NaN or infinite.
        Stopped: that was ordered; where checkpoints are kept there is one of the last step.
    """
    set_seed(seed)
    tokens = spec.batch_size * spec.sequence_length
    keeper = Keeper(saving, orders or Orders(), add_state=add_state, may_finish=may_finish, measure=measure)
    folder = folder if saving is None else saving.folder
    trainer = _Trainer(
        model=model,
        args=_arguments(spec, total_steps(len(windows), spec), seed, folder),
        train_dataset=windows if teaching is None else Numbered(windows),
        callbacks=[*callbacks, _Teller(reporter, tokens), keeper],
        spec=spec,
        teaching=teaching,
    )
    trainer.remove_callback(PrinterCallback)
    if ranks.count() > 1:
        # Prepared here, for mixed precision alone, it is not wrapped by the Trainer.
        trainer.accelerator.prepare_model(model, evaluation_mode=True)
        ranks.as_first([parameter for parameter in model.parameters() if parameter.requires_grad])
    resume_from = saving.resume_from if saving is not None else None
    trainer.train(resume_from_checkpoint=None if resume_from is None else str(resume_from))
    if keeper.obeyed is Order.STOP:
        raise Stopped
    return keeper.obeyed is not Order.FINISH


class _Trainer(Trainer):
    """The Trainer with our optimizer, which it makes when the model is where it will be trained, and our loss."""

    def __init__(self, *, spec: TrainSpec, teaching: Teaching | None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._bare: PreTrainedModel = arguments["model"].get_base_model()
        self._spec = spec
        self._teaching = teaching

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Over all learned tokens of the step, in whichever micro-batch or process they are, as the Trainer's own."""
        assert num_items_in_batch is not None
        assert not return_outputs  # only asked for when the Trainer evaluates
        loss = training_loss.of(
            self._bare,
            inputs["input_ids"],
            inputs["labels"],
            num_items_in_batch,
            bfloat16=uses_bfloat16(self._spec),
            teaching=self._teaching,
            numbers_B=inputs.get("number"),
        )
        return loss * self.accelerator.num_processes  # whose gradients are averaged

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """One micro-batch; after the last of a step all processes have the same gradients, not yet clipped."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.accelerator.sync_gradients:
            ranks.average([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
        return loss

    def _run_epoch(self, *arguments: Any, **named: Any) -> None:
        """One epoch; nothing of it for a run that goes on from the state after its last step, or only to finish."""
        if self.control.should_training_stop or self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(*arguments, **named)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """With the rates of this spec: a second try may be more careful than the run that the checkpoint is of."""
        assert self.optimizer is not None
        asked = [group["initial_lr"] for group in self.optimizer.param_groups]
        super()._load_optimizer_and_scheduler(checkpoint)
        scheduler = self.lr_scheduler
        if scheduler is None or scheduler.base_lrs == asked:
            return
        for group, before, rate in zip(self.optimizer.param_groups, scheduler.base_lrs, asked, strict=True):
            group["lr"] *= rate / before
            group["initial_lr"] = rate
        scheduler.base_lrs = asked

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            learner = self.model if model is None else model
            assert learner is not None
            self.optimizer = optimizer.adamw(learner, self._spec)
        return self.optimizer


def _arguments(spec: TrainSpec, steps: int, seed: int, folder: Path) -> TrainingArguments:
    size = micro_batch(spec)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=size,
        gradient_accumulation_steps=ranks.share_of(spec.batch_size) // size,
        learning_rate=spec.learning_rate,
        lr_scheduler_type="constant_with_warmup"
        if spec.learning_rate_schedule == "constant"
        else spec.learning_rate_schedule,
        warmup_steps=spec.learning_rate_warmup_steps or spec.learning_rate_warmup_fraction,
        weight_decay=spec.weight_decay,
        max_grad_norm=spec.max_grad_norm,
        bf16=uses_bfloat16(spec),
        use_cpu=not torch.cuda.is_available(),
        activation_checkpointing=spec.gradient_checkpointing,
        seed=seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    # One process drives one device; more devices are torchrun's affair, never DataParallel's.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


class _Teller(TrainerCallback):
    """Reports each step, and ends a run whose loss is not a number."""

    def __init__(self, reporter: Reporter, tokens_per_step: int) -> None:
        self._reporter = reporter
        self._tokens = tokens_per_step
        self._since = time.monotonic()

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._since = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if not logs or "loss" not in logs:  # the summary at the end of the run
            return
        if not math.isfinite(logs["loss"]) or not math.isfinite(logs.get("grad_norm", 0.0)):
            raise errors.LossNotFinite(
                f"At step {state.global_step} the loss is {logs['loss']}, the gradient's norm {logs.get('grad_norm')}.",
                hint="Lower the learning rate, or train in float32.",
            )
        self._reporter.step(logs["loss"], self._tokens / max(time.monotonic() - self._since, 1e-9))
