"""The result in the formats that were asked for beside safetensors: each is written, and proven before it counts."""

import shutil
from collections.abc import Collection
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from jobs import uneven
from jobs.formats import FORMS, Format, is_gguf, is_variant
from jobs.uneven import Uneven
from worker.engine import (
    certificate,
    gguf_check,
    gguf_files,
    gguf_tokenizers,
    model_card,
    onnx_check,
    onnx_files,
    per_layer_config,
    variant_check,
    verification,
    weight_variants,
)
from worker.engine.certificate import GgufProof, OnnxProof, QuantisedProof
from worker.engine.job import Job
from worker.engine.plan import Plan
from worker.engine.proofs import Proofs
from worker.engine.report import Report

VARIANTS = "variants"
"""The folder, beside the model's, of the repositories with weights in fewer bits; each is named as its format."""

PAPERS = ("recipe.yaml", "compression_report.json", "report.html", "report_*.png", per_layer_config.NAME)


def check(asked: Collection[Format], tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises FormatImpossible, before any training, for what this worker cannot write, or not of such a tokenizer."""
    if any(map(is_gguf, asked)):
        gguf_tokenizers.check(tokenizer)
    if "onnx" in asked:
        onnx_files.check_installed()


def write(job: Job, folder: Path, plan: Plan) -> Proofs:
    """Add GGUF files and the ONNX graph to the stock folder, and the quantised repositories beside it.

    Raises:
        VerificationFailed: one of them does not load, or is not the model in `folder`.
    """
    asked = [form for form in job.spec.output.formats if form != "safetensors"]
    proofs = Proofs()
    if not asked:
        return proofs
    probe = gguf_check.text(job.held_out, job.tokenizer)
    narrow = uneven.held(job.base.shape, plan.layout)
    with job.phase("converting"):
        for form in asked:
            if is_gguf(form):
                proofs.gguf.append(_write_gguf(job, folder, form, probe, narrow))
            elif is_variant(form):
                proofs.quantised[form] = _write_variant(job, folder, form, probe)
            else:
                proofs.onnx = _write_onnx(job, folder)
    return proofs


def _write_gguf(job: Job, folder: Path, form: Format, probe: str, narrow: Uneven | None) -> GgufProof:
    path, name = folder / FORMS[form].file, model_card.title(job.spec, job.base)
    gguf_files.write(folder, path, form, name=name, licence=job.base.licence, uneven=narrow)
    proof = gguf_check.certify(folder, form, probe, job.work)
    size = f"{path.stat().st_size / 1e6:,.1f} MB"
    job.reporter.log(f"{path.name}: {size} as {proof.architecture}, run in llama.cpp.")
    return proof


def _write_variant(job: Job, folder: Path, form: Format, probe: str) -> QuantisedProof:
    variant = folder.parent / VARIANTS / form
    weight_variants.write(folder, variant, form)
    proof = variant_check.certify(folder, variant, form, probe, job.work)
    job.reporter.log(f"{form}: loads with compressed-tensors {proof.compressed_tensors}.")
    return proof


def _write_onnx(job: Job, folder: Path) -> OnnxProof:
    onnx_files.write(folder, folder / FORMS["onnx"].file)
    proof = onnx_check.certify(folder, verification.probe(job.held_out), job.work)
    job.reporter.log(f"{proof.file}: run in onnxruntime {proof.onnxruntime}.")
    return proof


def complete(job: Job, folder: Path, report: Report, proofs: Proofs) -> None:
    """Give each quantised repository its papers and its certificate."""
    for form, proof in proofs.quantised.items():
        variant = folder.parent / VARIANTS / form
        for pattern in PAPERS:
            for paper in folder.glob(pattern):
                shutil.copyfile(paper, variant / paper.name)
        card = model_card.text(job.spec, job.base, report, proofs, variant=form)
        (variant / "README.md").write_text(card, encoding="utf-8")
        certificate.write(variant, quantised=proof)
