"""Whom a method's model learns from besides the text, as its spec asks."""

from collections.abc import Callable

from jobs.specs import JobSpec, LoraPruneSpec
from worker.engine import ranks
from worker.engine.distilled_loss import Mix
from worker.engine.methods.outcome import Task
from worker.engine.story import Story
from worker.engine.teachers import CachedTeacher, OnlineTeacher, Teaching
from worker.engine.windows import Windows


def settled(spec: JobSpec, story: Story, fits: Callable[[JobSpec], bool]) -> JobSpec:
    """The spec with a teacher named where that is left open: one in memory if it fits.

    What was settled once stays so, wherever the job goes on.
    """
    if spec.method.distillation.mode != "auto":
        return spec
    if "teacher" not in story:
        (is_online,) = ranks.as_first_says([fits(_named(spec, "online"))])
        story.keep("teacher", "online" if is_online else "cached")
    return _named(spec, story["teacher"])


def _named(spec: JobSpec, mode: str) -> JobSpec:
    distillation = spec.method.distillation.model_copy(update={"mode": mode})
    return spec.model_copy(update={"method": spec.method.model_copy(update={"distillation": distillation})})


def engage(task: Task, spec: LoraPruneSpec) -> tuple[Windows, Teaching | None]:
    """The windows to train on, and the teacher; to be called while the task's model is still dense and bare."""
    asked = spec.distillation
    mix = Mix(asked.weight, asked.temperature)
    match asked.mode:
        case "off":
            return task.windows, None
        case "online":
            task.reporter.log("The dense model stays in memory, to be learned from.")
            return task.windows, Teaching(OnlineTeacher(task.load_dense()), mix)
        case "auto":
            raise AssertionError("settled before")
        case "cached":
            windows = _drawn(task, spec)
            named = min(asked.top_k, task.shape.vocab)
            task.reporter.log(f"The dense model reads {len(windows)} windows and notes its {named} likeliest tokens.")
            shape = len(windows), windows.ids_NT.shape[1] - 1, named
            teacher = CachedTeacher(task.work / "teacher", shape)
            teacher.listen(task.model, windows, mix.temperature)
            return windows, Teaching(teacher, mix)


def _drawn(task: Task, spec: LoraPruneSpec) -> Windows:
    """No more windows than so many steps can learn from: the others need not be read."""
    steps = spec.train.steps
    needed = len(task.windows) if steps is None else steps * spec.train.batch_size
    return task.windows if needed >= len(task.windows) else task.windows.shuffled(task.seed).first(needed)
