"""`python -m worker.engine.gguf_reload FOLDER GGUF TEXT ANSWER`: run a GGUF file in llama.cpp, and compare.

Two questions, kept apart: does llama.cpp compute with the file what transformers computes with the same (rounded)
weights, and how far is that from the weights in FOLDER.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from worker.engine import clean_process, distances, gguf_files, greedy, llama_cpp, verification
from worker.engine.llama_cpp import Continuation

GREEDY_TOKENS = 16


@torch.inference_mode()
def main(folder: Path, gguf: Path, text_file: Path, answer: Path) -> None:
    """Answers with differences as parts of the spread of the logits."""
    text = text_file.read_text(encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", trust_remote_code=False).eval()
    ids_BT = torch.tensor([tokenizer(text).input_ids])
    stock_TV = verification.exact_answers(model, ids_BT)[0]
    stock = greedy.write(model, ids_BT[0], GREEDY_TOKENS)
    model.float()
    state = gguf_files.weights(gguf, model.config, model.state_dict())
    model.load_state_dict(state, strict=True)
    file_TV = verification.exact_answers(model, ids_BT)[0]
    rounded = greedy.write(model, ids_BT[0], GREEDY_TOKENS)
    tokens, written = llama_cpp.continuation(
        gguf, text, GREEDY_TOKENS, readable=_readable(tokenizer, ids_BT[0].tolist())
    )
    states_TH = llama_cpp.last_states(gguf, text)
    found: dict[str, Any] = {"architecture": gguf_files.architecture(gguf), "llama_cpp": llama_cpp.version()}
    found["tokens"] = len(tokens)
    found["same_tokens"] = tokens == ids_BT[0].tolist()
    if found["same_tokens"]:
        head_VH = model.get_output_embeddings().weight.double() / getattr(model.config, "logits_scaling", 1.0)
        found |= {
            "all_tokens": distances.part_of_spread(states_TH @ head_VH.T, file_TV),
            "last_token": _last_distance(written.first, file_TV[-1]),
            "greedy_tokens": len(written.tokens),
            "greedy_tokens_equal": greedy.common(rounded.tokens, written.tokens),
            "parting_lead": greedy.parting_lead(rounded, written.tokens),
            "quantisation": distances.part_of_spread(file_TV, stock_TV),
            "same_likeliest": distances.same_likeliest(file_TV, stock_TV),
            "text": written.text,
            "as_safetensors": written.text == _text_after(tokenizer, ids_BT[0].tolist(), stock.tokens, written),
        }
    answer.write_text(json.dumps(found), encoding="utf-8")


def _readable(tokenizer: PreTrainedTokenizerBase, tokens: list[int]) -> int:
    """One of the tokens that is whole characters by itself."""
    whole = (token for token in tokens if "\ufffd" not in (piece := str(tokenizer.decode([token]))) and piece.strip())
    return next(token for token in whole if token not in tokenizer.all_special_ids)


def _text_after(tokenizer: PreTrainedTokenizerBase, before: list[int], tokens: list[int], written: Continuation) -> str:
    """What as many tokens as were written read as, a blank at their begin included."""
    whole = tokenizer.decode(before + tokens[: len(written.tokens)])
    return str(whole).removeprefix(str(tokenizer.decode(before)))


def _last_distance(found: dict[int, float], expected_V: Tensor) -> float:
    likely = expected_V.log_softmax(-1)
    differences = [abs(float(likely[token]) - value) for token, value in found.items()]
    return max(differences) / float(expected_V.std())


if __name__ == "__main__":
    clean_process.end_with_parent()
    main(*map(Path, sys.argv[1:5]))
