"""The jobs of a round: small ones on a real model, of which some are sound, some cannot succeed, some are cancelled."""

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench import small_model
from cli.demo import text

Ending = Literal["succeeded", "failed", "cancelled"]

STEPS = 240
# More than a checkpoint takes to be stored: what is on its way when a worker dies is lost.
CHECKPOINT_STEPS = 80
ENDLESS_STEPS = 1_000_000


@dataclass(frozen=True)
class Order:
    """A job to be asked for, and how it has to end."""

    name: str
    spec: dict[str, Any]
    ending: Ending


@dataclass(frozen=True)
class Material:
    """What the jobs work on."""

    model: Path
    text: Path
    spoiled: Path
    round: str

    def order(self, number: int, ending: Ending = "succeeded", *, steps: int = STEPS) -> Order:
        """The job's metadata has the order's name, which no other has."""
        name = f"{self.round}-{number}"
        spec = {
            "base_model": {"source": "local", "path": str(self.model)},
            "dataset": {"source": "local", "path": str(self.spoiled if ending == "failed" else self.text)},
            "method": {
                "type": "lora_prune",
                "ratio": 0.25,
                "round_ffn_to": 4,
                "train": {
                    "steps": ENDLESS_STEPS if ending == "cancelled" else steps,
                    "batch_size": 4,
                    "sequence_length": 64,
                },
                "schedule": {"prune_every_steps": 10, "cooldown_fraction": 0.5},
                "score": {"calibration_windows": 4},
                "reconstruction": {"tokens_per_channel": 8},
            },
            "evaluation": {"max_windows": 4, "finetuned_reference": False, "benchmark": False, "agreement": False},
            "checkpoint": {"every_steps": CHECKPOINT_STEPS},
            "seed": number,
            "metadata": {"order": name},
        }
        return Order(name, spec, ending)

    def mixed(self, count: int) -> list[Order]:
        """Of eight jobs one cannot succeed and one is cancelled."""
        endings: dict[int, Ending] = {2: "cancelled", 5: "failed"}
        return [self.order(number, endings.get(number % 8, "succeeded")) for number in range(count)]


def prepare(folder: Path) -> Material:
    """Make the model, unless the test data has one, and the texts."""
    corpus = text.prepare(folder / "text")
    rows = corpus.train.read_text().splitlines()[:100]
    sound, spoiled = folder / "sound.jsonl", folder / "spoiled.jsonl"
    sound.write_text("\n".join(rows))
    # The door looks at a local text from outside only, so that this is found out by the worker.
    spoiled.write_text("\n".join([*rows[:50], json.dumps({"neither": "prompt nor text"})]))
    return Material(small_model.find(folder / "model", corpus.train), sound, spoiled, uuid.uuid4().hex)
