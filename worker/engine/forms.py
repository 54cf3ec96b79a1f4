"""The result in the formats that were asked for beside safetensors: each is written, and proven before it counts."""

from pathlib import Path

from jobs.formats import FORMS, is_gguf
from worker.engine import gguf_check, gguf_files, model_card
from worker.engine.certificate import GgufProof
from worker.engine.job import Job


def write(job: Job, folder: Path) -> list[GgufProof]:
    """Add the GGUF files to the stock folder.

    Raises:
        VerificationFailed: one of them does not load, or is not the model in `folder`.
    """
    asked = [form for form in job.spec.output.formats if is_gguf(form)]
    if not asked:
        return []
    proofs = []
    probe, name = gguf_check.text(job.held_out, job.tokenizer), model_card.title(job.spec, job.base)
    with job.phase("converting"):
        for form in asked:
            path = folder / FORMS[form].file
            gguf_files.write(folder, path, form, name=name, licence=job.base.licence)
            proofs.append(gguf_check.certify(folder, form, probe, job.work))
            job.reporter.log(f"{path.name}: {path.stat().st_size / 1e6:,.1f} MB, run in llama.cpp.")
    return proofs
