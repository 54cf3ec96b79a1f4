"""The table of what is tried again, how often, and what is done differently then."""

from typing import Any

import pytest

from worker import retries
from worker.retries import GiveUp, Retry, Standing


def error(code: str, phase: str = "pruning", step: int | None = 7, **fields: Any) -> dict[str, Any]:
    retryable = code in {"engine_crashed", "engine_killed", "storage_error", "base_model_unavailable"}
    return {"code": code, "message": "", "hint": "", "retryable": retryable, "phase": phase, "step": step} | fields


def decide(failed: dict[str, Any], *history: dict[str, Any], left: int = 9, **standing: Any) -> Retry | GiveUp:
    return retries.decide(
        failed, Standing(history, attempts_left=left, **standing), backoff_seconds=5, longest_seconds=60, most_free=10
    )


@pytest.mark.parametrize("size", [8, 12, 9, 7, 2])
def test_out_of_gpu_memory_halves_the_micro_batch_by_a_divisor(size: int) -> None:
    verdict = decide(error("out_of_gpu_memory", micro_batch_size=size))
    assert isinstance(verdict, Retry)
    assert (verdict.delay_seconds, verdict.is_free) == (0, False)
    assert verdict.overrides == {"micro_batch_size": {8: 4, 12: 6, 9: 3, 7: 1, 2: 1}[size]}


def test_out_of_gpu_memory_is_tried_twice_again_and_at_the_same_step() -> None:
    failed = error("out_of_gpu_memory", micro_batch_size=8)
    assert isinstance(decide(failed, failed), Retry)
    assert isinstance(decide(failed, failed, failed), GiveUp)


def test_one_sequence_that_does_not_fit_is_given_up_with_a_hint() -> None:
    verdict = decide(error("out_of_gpu_memory", micro_batch_size=1))
    assert isinstance(verdict, GiveUp)
    assert "sequence_length" in verdict.error["hint"]


def test_memory_that_is_full_outside_training_is_not_the_micro_batch_s_fault() -> None:
    assert isinstance(decide(error("out_of_gpu_memory", "evaluating", micro_batch_size=8)), GiveUp)
    assert decide(error("out_of_host_memory", "evaluating", micro_batch_size=8)) == Retry(5)


def test_out_of_host_memory_is_tried_again_once() -> None:
    failed = error("out_of_host_memory", micro_batch_size=4)
    assert decide(failed) == Retry(0, {"micro_batch_size": 2})
    assert decide(error("out_of_host_memory")) == Retry(5)  # killed: nobody could say what the micro-batch was
    assert isinstance(decide(failed, failed), GiveUp)


@pytest.mark.parametrize(("code", "other"), [("nan_loss", "score_not_finite"), ("score_not_finite", "nan_loss")])
def test_a_lost_loss_is_tried_again_once_at_half_the_rate(code: str, other: str) -> None:
    failed = error(code)
    assert decide(failed) == Retry(0, {"learning_rate_factor": 0.5}, is_last_checkpoint_suspect=True)
    halved = decide(failed, overrides={"learning_rate_factor": 0.5})
    assert halved == Retry(0, {"learning_rate_factor": 0.25}, is_last_checkpoint_suspect=True)
    assert isinstance(decide(failed, failed), GiveUp)
    assert isinstance(decide(failed, error(other)), GiveUp)
    assert isinstance(decide(error(code, "evaluating")), GiveUp)


@pytest.mark.parametrize("code", ["storage_error", "base_model_unavailable", "engine_killed"])
def test_what_is_not_the_job_s_fault_counts_as_no_attempt(code: str) -> None:
    failed = error(code)
    assert decide(failed, left=0) == Retry(5, is_free=True)
    assert decide(failed, *[failed] * 9, free_attempts=9, left=0) == Retry(60, is_free=True)
    verdict = decide(failed, *[failed] * 10, free_attempts=10)
    assert isinstance(verdict, GiveUp)
    assert "11 times" in verdict.error["hint"]


def test_a_crash_is_tried_again_after_growing_pauses_as_long_as_it_is_elsewhere() -> None:
    assert decide(error("engine_crashed", step=1)) == Retry(5)
    assert decide(error("engine_crashed", step=2), error("engine_crashed", step=1)) == Retry(10)
    assert decide(error("engine_crashed", "merging"), error("engine_crashed", "pruning")) == Retry(10)
    verdict = decide(error("engine_crashed", step=2), error("engine_crashed", step=2), error("engine_crashed", step=1))
    assert isinstance(verdict, GiveUp)
    assert (verdict.error["code"], verdict.error["retryable"]) == ("engine_crashed", False)
    assert "same place" in verdict.error["hint"]


def test_nothing_is_tried_more_often_than_is_allowed() -> None:
    for code in ("engine_crashed", "out_of_gpu_memory", "nan_loss", "score_not_finite"):
        assert isinstance(decide(error(code, micro_batch_size=8), left=0), GiveUp)


@pytest.mark.parametrize("code", ["dataset_too_short", "unsupported_architecture", "checkpoint_mismatch", "internal"])
def test_what_would_only_fail_again_fails_at_once(code: str) -> None:
    failed = error(code)
    assert decide(failed) == GiveUp(failed)
