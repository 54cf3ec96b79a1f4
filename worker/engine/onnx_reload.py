"""`python -m worker.engine.onnx_reload FOLDER GRAPH PROBE ANSWER`: run an ONNX graph in onnxruntime, and compare.

What follows a token changes nothing at it, nor does what pads a shorter text. So transformers reads each text once, as
a whole and alone, and what onnxruntime says of any part of it, in any batch, must be the same.

Legend: N texts, B rows of a batch, T tokens, V entries of the vocabulary.
"""

import json
import os
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import onnxruntime
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from worker.engine import clean_process, verification


@dataclass(frozen=True)
class Batch:
    """How many tokens each row has, padded on the left to the longest; and how many columns are read at once."""

    lengths: tuple[int, ...]
    steps: tuple[int, ...]


def batches(tokens: int) -> list[Batch]:
    """Short and long texts, alone and together, in one step and in several with a KV cache between them."""
    half = -(-tokens // 2)
    few = min(4, tokens - half)
    return [
        Batch((1,), (1,)),
        Batch((tokens,), (tokens,)),
        Batch((half, half), (half,)),
        Batch((tokens, half, 1), (tokens,)),
        Batch((tokens,), (half, tokens - half)),
        Batch((half, tokens), (tokens - few, *[1] * few)),
    ]


def main(folder: Path, graph: Path, probe: Path, answer: Path) -> None:
    """Answers with the largest difference of a logit, and how large that is beside the spread of the logits."""
    ids_NT = load_file(probe)["ids"]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", trust_remote_code=False).eval()
    expected_NTV = verification.exact_answers(model, ids_NT)
    del model
    session, tried = _session(graph), batches(ids_NT.shape[1])
    # Over tensors, so that what is not a number stays that.
    farthest = float(torch.stack([_difference(session, batch, ids_NT, expected_NTV) for batch in tried]).max())
    found = {
        "onnxruntime": version("onnxruntime"),
        "opset": onnx_ir.load(graph).opset_imports[""],
        "batches": len(tried),
        "tokens": ids_NT.shape[1],
        "max_abs_logit_difference": farthest,
        "part_of_spread": farthest / float(expected_NTV.std()),
    }
    answer.write_text(json.dumps(found), encoding="utf-8")


def _session(graph: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _difference(session: Any, batch: Batch, ids_NT: Tensor, expected_NTV: Tensor) -> Tensor:
    """The largest of any logit at a token that is no padding."""
    width = max(batch.lengths)
    rows = [row % len(ids_NT) for row in range(len(batch.lengths))]
    mask_BT = torch.stack([torch.arange(width) >= width - length for length in batch.lengths]).long()
    ids_BT = torch.zeros(len(rows), width, dtype=torch.long)
    for place, (row, length) in enumerate(zip(rows, batch.lengths, strict=True)):
        ids_BT[place, width - length :] = ids_NT[row, :length]
    found_BTV = _run(session, ids_BT, mask_BT, batch.steps)
    differences = [
        (found_TV[width - length :] - expected_NTV[row, :length]).abs().max()
        for found_TV, row, length in zip(found_BTV, rows, batch.lengths, strict=True)
    ]
    return torch.stack(differences).max()


def _run(session: Any, ids_BT: Tensor, mask_BT: Tensor, steps: tuple[int, ...]) -> Tensor:
    """(B, T, V) logits, each step going on from what the one before it has left."""
    positions_BT = (mask_BT.cumsum(-1) - 1).clamp(min=0)
    held = {
        given.name: np.zeros((len(ids_BT), given.shape[1], 0, given.shape[3]), np.float32)
        for given in session.get_inputs()
        if given.name.startswith("past_key_values.")
    }
    logits, end = [], 0
    for step in steps:
        begin, end = end, end + step
        now = {
            "input_ids": ids_BT[:, begin:end].numpy(),
            "attention_mask": mask_BT[:, :end].numpy(),
            "position_ids": positions_BT[:, begin:end].numpy(),
        }
        answer, *present = session.run(None, now | held)
        logits.append(torch.from_numpy(answer))
        held = dict(zip(held, present, strict=True))
    return torch.cat(logits, dim=1)


if __name__ == "__main__":
    clean_process.end_with_parent()
    main(*map(Path, sys.argv[1:5]))
