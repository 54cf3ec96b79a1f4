"""What the demo asks for: sized so that all of it takes minutes on two CPU cores."""

from typing import Any

RATIO = 0.3
STEPS = 60
BATCH_SIZE = 4
SEQUENCE_LENGTH = 256
EVALUATION_WINDOWS = 40
PROMPT = "In Python, the with statement"


def job(base_model: dict[str, Any], train_id: str, held_out_id: str) -> dict[str, Any]:
    """The specification of the demo's one job."""
    return {
        "name": "demo",
        "base_model": base_model,
        "dataset": {"source": "file", "id": train_id},
        "method": {
            "type": "lora_prune",
            "ratio": RATIO,
            "train": {"steps": STEPS, "batch_size": BATCH_SIZE, "sequence_length": SEQUENCE_LENGTH},
        },
        "evaluation": {
            "dataset": {"source": "file", "id": held_out_id},
            "max_windows": EVALUATION_WINDOWS,
            "finetuned_reference": True,
            "benchmark": True,
            "prompts": [PROMPT],
        },
    }
