"""`python -m worker.engine.clean_reload FOLDER PROBE ANSWER`: load a folder as any user would, and answer a probe."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from worker.engine import clean_process, devices, greedy, side_by_side, verification

GREEDY_TOKENS = 12


def main(folder: Path, probe: Path, answer: Path) -> None:
    """Compare logits in float64, and write a few tokens with and without a KV cache, in the dtype of the files."""
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", trust_remote_code=False, output_loading_info=True
    )
    model, loading = loaded
    model.eval()
    if devices.holds(side_by_side.weight_bytes(model)):
        model.to(devices.own())
    request = load_file(probe)
    ids_BT = request["ids"].to(model.device)
    logits_BTV = verification.exact_answers(model, ids_BT)
    model.generation_config.eos_token_id = None  # as many tokens as are asked for
    cached = greedy.write(model, ids_BT[0], GREEDY_TOKENS)
    plain = greedy.write(model, ids_BT[0], GREEDY_TOKENS, cached=False)
    answer.write_text(
        json.dumps(
            {
                "problems": {key: sorted(map(str, value)) for key, value in loading.items() if value},
                "max_abs_difference": float((logits_BTV - request["logits"]).abs().max()),
                "greedy_tokens": len(cached.tokens),
                "greedy_tokens_equal": greedy.common(plain.tokens, cached.tokens),
                "parting_lead": greedy.parting_lead(plain, cached.tokens),
                "transformers": transformers.__version__,
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    clean_process.end_with_parent()
    main(*map(Path, sys.argv[1:4]))
