"""What is measured, against its definition."""

import json
import math
from pathlib import Path
from typing import get_args

import pytest
import torch

from jobs import errors
from jobs.evaluations import BenchmarkSpec, EvaluationSpec
from jobs.families import FAMILIES
from tests.models import byte_tokenizer, random_model
from worker.engine import agreement, devices, evaluation, measurement, peak_memory, protocols, side_by_side, speed
from worker.engine.evaluation import perplexity
from worker.engine.side_by_side import Pair, Placement
from worker.engine.windows import IGNORED, Windows


def test_perplexity_is_its_definition_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "CHUNK_TOKENS", 5)  # several pieces per batch
    model, shape = random_model()
    ids_NT = torch.randint(shape.vocab, (5, 12), generator=torch.Generator().manual_seed(0))
    labels_NT = ids_NT.clone()
    labels_NT[1, :7] = IGNORED
    total, count = 0.0, 0
    with torch.no_grad():
        for ids_T, labels_T in zip(ids_NT[:4], labels_NT[:4], strict=True):
            log_p_TV = model.double()(input_ids=ids_T[None]).logits[0].log_softmax(dim=-1)
            for position in range(11):
                if labels_T[position + 1] != IGNORED:
                    total -= float(log_p_TV[position, labels_T[position + 1]])
                    count += 1
    found = perplexity(model.float(), Windows(ids_NT, labels_NT), max_windows=4)
    assert found == pytest.approx(math.exp(total / count), rel=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_predictions_are_what_each_family_answers_a_few_at_a_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "CHUNK_TOKENS", 5)
    model, shape = random_model(model_type=name)
    model = model.double().eval()
    ids_BT = torch.randint(shape.vocab, (3, 12), generator=torch.Generator().manual_seed(0))
    labels_BT = torch.where(ids_BT % 3 == 0, IGNORED, ids_BT)
    with torch.no_grad():
        pieces = list(evaluation.predictions(model, ids_BT, labels_BT))
        logits_NV = model(input_ids=ids_BT).logits[:, :-1][labels_BT[:, 1:] != IGNORED]
    assert {len(targets_C) for _, targets_C in pieces[:-1]} == {5}
    torch.testing.assert_close(torch.cat([logits_CV for logits_CV, _ in pieces]), logits_NV, rtol=1e-12, atol=1e-12)
    assert torch.equal(torch.cat([targets_C for _, targets_C in pieces]), ids_BT[:, 1:][labels_BT[:, 1:] != IGNORED])


def test_a_model_that_knows_nothing_is_as_perplexed_as_its_vocabulary_is_large() -> None:
    model, shape = random_model()
    torch.nn.init.zeros_(model.get_output_embeddings().weight)
    ids_NT = torch.randint(shape.vocab, (2, 16))
    assert perplexity(model, Windows(ids_NT, ids_NT), 10) == pytest.approx(shape.vocab, rel=1e-5)


def test_an_answer_that_is_not_a_number_is_an_error() -> None:
    model, shape = random_model()
    torch.nn.init.constant_(model.get_output_embeddings().weight, float("nan"))
    ids_NT = torch.randint(shape.vocab, (2, 16))
    with pytest.raises(errors.LossNotFinite):
        perplexity(model, Windows(ids_NT, ids_NT), 10)


@pytest.mark.parametrize("placement", get_args(Placement))
def test_agreement_is_its_definition_in_float64(placement: Placement, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "CHUNK_TOKENS", 5)
    (dense, shape), (pruned, _) = random_model(seed=1), random_model(seed=2)
    ids_NT = torch.randint(shape.vocab, (5, 12), generator=torch.Generator().manual_seed(0))
    labels_NT = ids_NT.clone()
    labels_NT[1, :7] = IGNORED
    windows = Windows(ids_NT, labels_NT)
    perplexities = [perplexity(model, windows, 5) for model in (dense, pruned)]
    found = agreement.measure(Pair(dense, pruned, torch.device("cpu"), placement), windows)
    kl, same = [], []
    with torch.no_grad():
        for ids_T, labels_T in zip(ids_NT, labels_NT, strict=True):
            log_p_TV, log_q_TV = (
                model.double()(input_ids=ids_T[None]).logits[0].log_softmax(dim=-1) for model in (dense, pruned)
            )
            for position in range(11):
                if labels_T[position + 1] != IGNORED:
                    p_V = log_p_TV[position].exp()
                    kl.append(float((p_V * (log_p_TV[position] - log_q_TV[position])).sum()))
                    same.append(bool(p_V.argmax() == log_q_TV[position].argmax()))
    assert [found.dense_perplexity, found.pruned_perplexity] == pytest.approx(perplexities, rel=1e-6)
    assert found.agreement.tokens == len(kl)
    assert found.agreement.kl_mean == pytest.approx(sum(kl) / len(kl), rel=1e-4)
    assert found.agreement.kl_median == pytest.approx(sorted(kl)[(len(kl) - 1) // 2], rel=1e-4)
    assert found.agreement.top1 == pytest.approx(sum(same) / len(same))


def test_a_model_agrees_with_itself() -> None:
    model, shape = random_model()
    ids_NT = torch.randint(shape.vocab, (2, 16))
    found = agreement.measure(Pair(model, model, torch.device("cpu"), "together"), Windows(ids_NT, ids_NT))
    assert found.agreement.top1 == 1
    assert abs(found.agreement.kl_p99) < 1e-6


def test_a_protocol_reads_rows_as_one_text_and_begins_windows_as_asked(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    rows = ["one text", "", "and another one, so that there is more than a window of it"]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    asked = EvaluationSpec.model_validate(
        {"perplexities": [{"name": "plain", "dataset": {"source": "local", "path": str(path)}, "window": 8}]}
    )
    texts = {"/evaluation/perplexities/0/dataset": asked.perplexities[0].dataset}
    (plain,) = protocols.prepare(asked, texts, tokenizer)  # type: ignore[arg-type]
    ids = tokenizer("\n\n".join(rows)).input_ids
    assert plain.windows.ids_NT.flatten().tolist() == ids[: len(ids) // 8 * 8]
    assert plain.predicted_tokens == len(ids) // 8 * 7
    with_begin = asked.perplexities[0].model_copy(update={"begin_of_text": True, "max_windows": 2})
    with pytest.raises(errors.EvaluationImpossible, match="begin-of-text"):
        protocols.cut("\n\n".join(rows), with_begin, tokenizer)
    tokenizer.bos_token = "<|end|>"
    found = protocols.cut("\n\n".join(rows), with_begin, tokenizer).ids_NT
    assert found[:, 1:].flatten().tolist() == ids[:14]
    assert set(found[:, 0].tolist()) == {tokenizer.bos_token_id}


def test_a_device_holds_both_models_or_one_or_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "own", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    for free, expected in ((2000, "together"), (1999, "in_turns"), (1250, "in_turns"), (1249, "block_by_block")):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda free=free: (free, 10**9))
        assert side_by_side.placed(dense=1000, pruned=600) == expected


def test_what_the_device_does_not_hold_is_not_timed_on_it() -> None:
    model, _ = random_model()
    asked = EvaluationSpec(benchmark=True)
    assert measurement.benchmark(Pair(model, model, torch.device("cpu"), "block_by_block"), asked) is None


def test_a_benchmark_fits_into_the_positions_of_any_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "SECONDS", 0)  # the fewest rounds
    model, _ = random_model(max_position_embeddings=16)
    asked = BenchmarkSpec(batch_size=2, prompt_tokens=256, new_tokens=32)
    assert speed.fitting(asked, model) == speed.Case(2, 8, 8)
    large, _ = random_model(max_position_embeddings=16, hidden_size=512, intermediate_size=4096)
    found = speed.measure(Pair(large, model, torch.device("cpu"), "together"), asked)
    assert found.speeds["pruned"].prefill == pytest.approx(16 / found.speeds["pruned"].prefill_seconds)
    assert found.speeds["pruned"].decode == pytest.approx(2 / found.speeds["pruned"].decode_seconds_per_token)
    dense, pruned = found.speeds["dense"], found.speeds["pruned"]
    if dense.peak_bytes is not None and pruned.peak_bytes is not None:
        assert dense.peak_bytes > side_by_side.weight_bytes(large) > pruned.peak_bytes


def test_memory_is_what_the_work_takes_beside_the_weights() -> None:
    model, _ = random_model()
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    found = peak_memory.peak_bytes(model, lambda: torch.ones(64 * 2**20 // 4).sum())
    assert found is None or found - weights == pytest.approx(64 * 2**20, rel=0.2)
