"""The part of a model card that says how to load each of its formats."""

from collections.abc import Iterator

from jobs import uneven
from jobs.formats import FORMS, Format
from worker.engine.certificate import GgufProof, OnnxProof, QuantisedProof
from worker.engine.proofs import Proofs

STOCK = """\
`REPOSITORY` is this repository's name, or the folder that it was downloaded to. On a service of your own set
`HF_ENDPOINT=https://YOUR.SERVICE/hf`, and `HF_TOKEN` to a key of it if the model is private.

```
hf download REPOSITORY
```

transformers:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained("REPOSITORY", dtype="auto")
tokenizer = AutoTokenizer.from_pretrained("REPOSITORY")
```

vLLM:

```
vllm serve REPOSITORY
```
"""

CONVERTED = """\
llama.cpp: there is no GGUF file here; its `convert_hf_to_gguf.py` makes one of this folder, or ask for the format
`gguf_f16` when making the model again.
"""


GRAPH = """\
onnxruntime reads `onnx/model.onnx`: a text as a whole, or bit by bit with what it answered as `present.…` given back as
`past_key_values.…`. `attention_mask` is as long as past and present tokens together.

```python
import numpy as np, onnxruntime
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
session = onnxruntime.InferenceSession("FOLDER/onnx/model.onnx")
ids = tokenizer("Once upon a time", return_tensors="np").input_ids
feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": np.arange(ids.shape[1])[None]}
for past in session.get_inputs()[3:]:
    feed[past.name] = np.zeros((1, past.shape[1], 0, past.shape[3]), np.float32)
logits, *present = session.run(None, feed)
```
"""


def text(proofs: Proofs, variant: Format | None) -> str:
    """Markdown, of the repository itself or of one of its quantised variants."""
    if variant is not None:
        return (
            f'This is the revision `{variant}`: add `--revision {variant}` to commands, `revision="{variant}"` to '
            f"Python calls, and for transformers `pip install compressed-tensors`.\n\n{STOCK}"
        )
    return "\n".join([STOCK, *_llama_cpp(proofs.gguf), *_onnx(proofs.onnx), *_variants(proofs.quantised)])


def _llama_cpp(proofs: list[GgufProof]) -> Iterator[str]:
    if not proofs:
        yield CONVERTED
        return
    yield f"llama.cpp:\n\n```\nllama-cli -m {proofs[0].file} -p 'Once upon a time'\n```\n"
    yield "| file | logits in llama.cpp against transformers | rounding of the weights | same likeliest token |"
    yield "|---|--:|--:|--:|"
    for proof in proofs:
        yield f"| `{proof.file}` | {proof.all_tokens:.2g} | {proof.quantisation:.2g} | {proof.same_likeliest:.0%} |"
    yield (
        f"\nDifferences are parts of the spread of the logits, on {proofs[0].tokens} tokens of held-out text; "
        f"llama.cpp is that of xllamacpp {proofs[0].llama_cpp}.\n"
    )
    if proofs[0].architecture in uneven.NAMES:
        yield (
            "In the GGUF files each layer has its own widths, without any padding: they are files of llama.cpp's "
            f"architecture `{proofs[0].architecture}`.\n"
        )


def _onnx(proof: OnnxProof | None) -> Iterator[str]:
    if proof is None:
        return
    yield GRAPH
    yield (
        f"In onnxruntime {proof.onnxruntime} no logit differed by more than {proof.max_abs_logit_difference:.2g} from "
        f"transformers in float64, on {proof.batches} batches of texts of up to {proof.tokens} tokens.\n"
    )


def _variants(proofs: dict[Format, QuantisedProof]) -> Iterator[str]:
    if not proofs:
        return
    yield "Weights in fewer bits (compressed-tensors) are revisions of their own:\n"
    yield "| revision | for | logits against these | same likeliest token |"
    yield "|---|---|--:|--:|"
    for form, proof in proofs.items():
        where = ", ".join(FORMS[form].loads_in)
        yield f"| `{form}` | {where} | {proof.quantisation:.2g} | {proof.same_likeliest:.0%} |"
    yield f"\n```\nvllm serve REPOSITORY --revision {next(iter(proofs))}\n```\n"
