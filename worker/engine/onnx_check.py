"""Proof that an ONNX graph computes what the safetensors beside it do: onnxruntime runs it before it is published."""

import json
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from jobs import errors
from jobs.formats import FORMS
from worker.engine import clean_process
from worker.engine.certificate import OnnxProof

FARTHEST = 0.01
"""Largest difference of a logit, as a part of their spread, that computing in 32 bits explains in a deep model."""


def certify(folder: Path, ids_BT: Tensor, work: Path) -> OnnxProof:
    """Run the graph of the model in `folder` on these texts, and on parts of them.

    Raises:
        VerificationFailed: it does not run, or computes something else.
    """
    file = FORMS["onnx"].file
    request, answer = work / "probe.safetensors", work / "onnx.json"
    save_file({"ids": ids_BT.contiguous()}, request)
    failure = clean_process.run("worker.engine.onnx_reload", folder, folder / file, request, answer)
    request.unlink()
    if failure is not None:
        raise errors.VerificationFailed(f"{file} does not run in onnxruntime: {failure}")
    found = json.loads(answer.read_text(encoding="utf-8"))
    if not found["part_of_spread"] <= FARTHEST:
        raise errors.VerificationFailed(
            f"{file} in onnxruntime is not the model: a logit differs by {found['max_abs_logit_difference']:.3g}, "
            f"{found['part_of_spread']:.3g} of the spread of the logits, more than {FARTHEST:g}."
        )
    return OnnxProof(file=file, **found)
