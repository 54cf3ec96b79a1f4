"""`python -m worker.engine.clean_reload FOLDER PROBE ANSWER`: load a folder as any user would, and answer a probe."""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from worker.engine import verification

GREEDY_TOKENS = 8


def main(folder: Path, probe: Path, answer: Path) -> None:
    """Compare logits in float64, and generate a few tokens with a KV cache, in the dtype of the files."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", device_map=device, trust_remote_code=False, output_loading_info=True
    )
    model, loading = loaded
    model.eval()
    request = load_file(probe)
    ids_BT = request["ids"].to(device)
    logits_BTV = verification.exact_answers(model, ids_BT)
    with torch.inference_mode():
        written_BT = model.generate(
            ids_BT[:1], max_new_tokens=GREEDY_TOKENS, min_new_tokens=GREEDY_TOKENS, do_sample=False, use_cache=True
        )
    answer.write_text(
        json.dumps(
            {
                "problems": {key: sorted(map(str, value)) for key, value in loading.items() if value},
                "max_abs_difference": float((logits_BTV - request["logits"]).abs().max()),
                "greedy_tokens": written_BT.shape[1] - ids_BT.shape[1],
                "transformers": transformers.__version__,
                "torch": torch.__version__,
            }
        )
    )


def _end_with(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(os.EX_SOFTWARE)


if __name__ == "__main__":
    threading.Thread(target=_end_with, args=(sys.stdin.fileno(),), daemon=True).start()
    main(*map(Path, sys.argv[1:4]))
