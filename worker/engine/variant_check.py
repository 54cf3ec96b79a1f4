"""Proof that a repository of quantised weights loads, and is still the model."""

import json
from pathlib import Path

from jobs import errors
from jobs.formats import Format
from worker.engine import clean_process
from worker.engine.certificate import QuantisedProof

FARTHEST = 0.7
"""Of the spread of the logits: two models that have nothing in common are 1.4 apart."""


def certify(folder: Path, variant: Path, form: Format, probe: str, work: Path) -> QuantisedProof:
    """Load the variant in a clean process, and compare it with the stock folder.

    Raises:
        VerificationFailed: it does not load, lacks a weight, or is too far off.
    """
    request, answer = work / "probe.txt", work / "variant.json"
    request.write_text(probe, encoding="utf-8")
    failure = clean_process.run("worker.engine.variant_reload", folder, variant, request, answer)
    if failure is not None:
        raise errors.VerificationFailed(f"The {form} variant does not load: {failure}")
    found = json.loads(answer.read_text(encoding="utf-8"))
    if found["problems"]:
        raise errors.VerificationFailed(f"The {form} variant does not fit its configuration: {found['problems']}")
    if not found["quantisation"] <= FARTHEST:
        raise errors.VerificationFailed(
            f"In {form} the model is another: logits differ by {found['quantisation']:.2g} of their spread.",
            hint=f"Leave {form} out of output.formats.",
        )
    del found["problems"]
    return QuantisedProof(format=form, **found)
