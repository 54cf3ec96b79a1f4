"""What the demo asks for: sized so that all of it takes minutes on two CPU cores."""

from cli.recipe import Recipe

RATIO = 0.3
STEPS = 40
BATCH_SIZE = 4
SEQUENCE_LENGTH = 256
CALIBRATION_WINDOWS = 32
CALIBRATION_TOKENS_PER_CHANNEL = 16
EVALUATION_WINDOWS = 40
PROMPT = "In Python, the with statement"


def job(train_id: str, held_out_id: str) -> Recipe:
    """The demo's one job, but for its model."""
    return {
        "name": "demo",
        "dataset": {"source": "file", "id": train_id},
        "method": {
            "type": "lora_prune",
            "ratio": RATIO,
            "train": {"steps": STEPS, "batch_size": BATCH_SIZE, "sequence_length": SEQUENCE_LENGTH},
            "score": {"calibration_windows": CALIBRATION_WINDOWS},
            "reconstruction": {"tokens_per_channel": CALIBRATION_TOKENS_PER_CHANNEL},
        },
        "evaluation": {
            "dataset": {"source": "file", "id": held_out_id},
            "max_windows": EVALUATION_WINDOWS,
            "finetuned_reference": True,
            "benchmark": True,
            "prompts": [PROMPT],
        },
    }
