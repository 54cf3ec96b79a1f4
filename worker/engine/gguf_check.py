"""Proof that a GGUF file computes what the safetensors beside it do: it is run in llama.cpp before it is published."""

import json
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from jobs import errors
from jobs.formats import FORMS, Format
from worker.engine import clean_process
from worker.engine.certificate import GgufProof
from worker.engine.windows import Windows

BOUNDS = {"gguf_f16": 0.02}
"""The largest root-mean-square difference of logits, as a part of their spread, between llama.cpp and transformers on
the same weights. llama.cpp rounds activations to 16 bits where the weights have 16, and to 8 where they have fewer."""

COARSE = 0.15

WORST = 5
"""How much further than the mean a single logit may be off."""

PROBE_TOKENS = 48


def text(windows: Windows, tokenizer: PreTrainedTokenizerBase) -> str:
    """Real text to go on from, that the tokenizer reads and writes alike."""
    return str(tokenizer.decode(windows.ids_NT[0, :PROBE_TOKENS].tolist(), skip_special_tokens=True)).strip()


def certify(folder: Path, form: Format, probe: str, work: Path) -> GgufProof:
    """Run the file of this format in `folder` on the text.

    Raises:
        VerificationFailed: it does not load, reads the text as other tokens, or computes something else.
    """
    file = FORMS[form].file
    request, answer = work / "probe.txt", work / "gguf.json"
    request.write_text(probe, encoding="utf-8")
    failure = clean_process.run("worker.engine.gguf_reload", folder, folder / file, request, answer)
    if failure is not None:
        raise errors.VerificationFailed(f"{file} does not run in llama.cpp: {failure}")
    found = json.loads(answer.read_text(encoding="utf-8"))
    if not found["same_tokens"]:
        raise errors.VerificationFailed(f"llama.cpp reads a text as other tokens from {file} than the tokenizer does.")
    bound = BOUNDS.get(form, COARSE)
    measured = {"all_tokens": bound, "last_token": WORST * bound, "parting_lead": WORST * bound}
    for name, most in measured.items():
        if not found[name] <= most:
            raise errors.VerificationFailed(
                f"{file} in llama.cpp is not the model: {name} differs by {found[name]:.3g} of the spread of the "
                f"logits, more than {most:.3g}."
            )
    return GgufProof(format=form, file=file, **{key: found[key] for key in GgufProof.MEASURED})
