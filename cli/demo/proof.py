"""That the result loads: in a process that knows nothing of Prunery, by stock transformers alone."""

import os
import subprocess
import sys
from pathlib import Path

from cli.demo.failures import DemoFailed

SECONDS = 300
GENERATE = """
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained({folder!r})
tokens = tokenizer({prompt!r}, return_tensors="pt")
output = model.generate(**tokens, max_new_tokens=40, do_sample=False)
print(tokenizer.decode(output[0], skip_special_tokens=True))
"""


def loading_lines(folder: Path) -> tuple[str, str]:
    """The two lines of Python with which anyone loads the model."""
    return (
        "from transformers import AutoModelForCausalLM",
        f"model = AutoModelForCausalLM.from_pretrained({str(folder)!r})",
    )


def generate(folder: Path, prompt: str) -> str:
    """The prompt as the model continues it, after exactly those two lines.

    Raises:
        DemoFailed: it does not load, or does not write.
    """
    script = "\n".join(loading_lines(folder)) + GENERATE.format(folder=str(folder), prompt=prompt)
    # Isolated: neither this folder nor the environment can lend it any code of ours.
    done = subprocess.run(
        [sys.executable, "-I", "-c", script],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        timeout=SECONDS,
        check=False,
    )
    text = done.stdout.strip()
    if done.returncode != 0 or not text.removeprefix(prompt).strip():
        raise DemoFailed(f"Stock transformers does not load {folder}:\n{done.stderr.strip()[-2000:]}")
    return text
