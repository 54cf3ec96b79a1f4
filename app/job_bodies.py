"""The JSON that requests about jobs carry."""

from typing import Annotated, Any

from fastapi import Body, Depends, Request
from starlette.exceptions import HTTPException

from app.changing import JobPatch
from jobs.specs import JobSpec

EXAMPLES: dict[str, Any] = {
    "smallest": {
        "summary": "Remove 30 % of a hub model's block parameters",
        "value": {
            "base_model": {"source": "hub", "id": "HuggingFaceTB/SmolLM2-135M-Instruct"},
            "dataset": {"source": "file", "id": "file_019aa5a0b0c87d3e8f21c4a7d6e5b123"},
            "method": {"type": "lora_prune", "ratio": 0.3},
        },
    },
    "tuned": {
        "summary": "A local model, attention heads only, with held-out text of its own",
        "value": {
            "name": "llama-1b-a20",
            "base_model": {"source": "local", "path": "/models/llama-1b"},
            "dataset": {"source": "s3", "uri": "s3://texts/train.jsonl"},
            "method": {
                "type": "lora_prune",
                "ratio": 0.2,
                "scope": ["attention_heads"],
                "train": {"epochs": 1, "learning_rate": 0.0005, "sequence_length": 1024},
            },
            "evaluation": {"dataset": {"source": "s3", "uri": "s3://texts/held-out.jsonl"}},
            "metadata": {"team": "nlp"},
        },
    },
}


PATCHES: dict[str, Any] = {
    "sooner": {"summary": "Before others that wait", "value": {"priority": "high"}},
    "renamed": {"summary": "Another name", "value": {"name": "llama-1b-a20-final"}},
    "tagged": {
        "summary": "One entry of metadata more, one less",
        "value": {"metadata": {"stage": "done", "team": None}},
    },
}


async def _json_only(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise HTTPException(415, "Send JSON, with the header Content-Type: application/json.")


JSON_ONLY = Depends(_json_only)
JobBody = Annotated[JobSpec, Body(openapi_examples=EXAMPLES)]
PatchBody = Annotated[JobPatch, Body(openapi_examples=PATCHES)]
