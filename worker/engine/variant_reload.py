"""`python -m worker.engine.variant_reload FOLDER VARIANT TEXT ANSWER`: load quantised weights as any user would.

transformers gives the weights their values back before it computes; vLLM's kernels do not, and are not run here.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from worker.engine import clean_process, distances, greedy

GREEDY_TOKENS = 12


@torch.inference_mode()
def main(folder: Path, variant: Path, text_file: Path, answer: Path) -> None:
    """Answers with how far the logits are from those of the stock folder."""
    tokenizer = AutoTokenizer.from_pretrained(variant, trust_remote_code=False)
    ids_BT = torch.tensor([tokenizer(text_file.read_text(encoding="utf-8")).input_ids])
    stock = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False).eval()
    stock_TV = stock(ids_BT).logits[0].double()
    del stock
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        variant, dtype=torch.float32, trust_remote_code=False, output_loading_info=True
    )
    model, loading = loaded
    found_TV = model.eval()(ids_BT).logits[0].double()
    model.generation_config.eos_token_id = None
    cached = greedy.write(model, ids_BT[0], GREEDY_TOKENS)
    plain = greedy.write(model, ids_BT[0], GREEDY_TOKENS, cached=False)
    found = {
        "problems": {key: sorted(map(str, value)) for key, value in loading.items() if value},
        "transformers": version("transformers"),
        "compressed_tensors": version("compressed-tensors"),
        "quantisation": distances.part_of_spread(found_TV, stock_TV),
        "same_likeliest": distances.same_likeliest(found_TV, stock_TV),
        "greedy_tokens": len(cached.tokens),
        "greedy_tokens_equal": greedy.common(plain.tokens, cached.tokens),
    }
    answer.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    clean_process.end_with_parent()
    main(*map(Path, sys.argv[1:5]))
