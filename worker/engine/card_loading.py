"""The part of a model card that says how to load each of its formats."""

from collections.abc import Iterator

from jobs import uneven
from jobs.formats import FORMS, Format
from worker.engine.certificate import GgufProof, QuantisedProof

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


def text(gguf: list[GgufProof], quantised: dict[Format, QuantisedProof], variant: Format | None) -> str:
    """Markdown, of the repository itself or of one of its quantised variants."""
    if variant is not None:
        return (
            f'This is the revision `{variant}`: add `--revision {variant}` to commands, `revision="{variant}"` to '
            f"Python calls, and for transformers `pip install compressed-tensors`.\n\n{STOCK}"
        )
    return "\n".join([STOCK, *_llama_cpp(gguf), *_variants(quantised)])


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
