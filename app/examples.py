"""Examples in the OpenAPI document, for every body and every answer: written out, or put together from its schema."""

from collections.abc import Iterator
from typing import Any

from app.job_bodies import EXAMPLES

Node = dict[str, Any]

JSON = "application/json"
TIME = "2026-01-31T12:00:00Z"
DIGITS = "019aa5a0b0c87d3e8f21c4a7d6e5b123"
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
COMMIT = "4e20de362430cd3b72f300e6b0f18e50e7166e08"
JOB, MODEL = f"cjob_{DIGITS}", "/v1/models/nlp/smollm2-135m-p30"
PLAN = {
    "layers": 30,
    "query_heads": {"before": 9, "after": 6},
    "kv_heads": {"before": 3, "after": 2},
    "ffn": {"before": 1536, "after": 1088},
    "parameters": {"before": 134515008, "after": 102443328},
    "block_parameters": {"before": 106203456, "after": 74131776},
    "ratio": 0.302,
    "bytes": {"before": 269030016, "after": 204886656},
    "memory": 2153000000,
    "loads_in": ["transformers", "vllm"],
}
PROGRESS = {
    "percent": 41.8,
    "step": 836,
    "total_steps": 2000,
    "sparsity": 0.27,
    "sparsity_target": 0.3,
    "loss": 2.31,
    "tokens_per_second": 18200.0,
    "eta_seconds": 2710.0,
    "updated_at": TIME,
}
METHOD = {"type": "lora_prune", "ratio": 0.3}

# What a reader knows a field by; a field of one schema alone goes before one of the same name anywhere.
OF_SCHEMA: dict[tuple[str, str], Any] = {
    ("ResumeRequest", "overrides"): {"micro_batch_size": 1},
    ("WebhookDeliveryDetail", "message"): {"type": "compression.job.succeeded", "timestamp": TIME, "data": {"id": JOB}},
    ("ModelUrls", "refs"): f"{MODEL}/refs",
    ("ModelUrls", "self"): MODEL,
    ("ModelUrls", "versions"): f"{MODEL}/versions",
    ("Urls", "self"): f"/v1/compression/jobs/{JOB}",
    ("Urls", "events"): f"/v1/compression/jobs/{JOB}/events",
    ("Upload", "url"): f"/v1/uploads/upl_{DIGITS}",
    ("Request", "reason"): "the budget is spent",
    ("PublishRequest", "name"): "smollm2-135m, step 800",
    ("PublishRequest", "output"): {"formats": ["safetensors", "gguf_q8_0"]},
    ("Job", "attempt"): 1,
    ("Job", "max_attempts"): 3,
    ("Job", "priority"): "normal",
    ("ApiKey", "id"): f"key_{DIGITS}",
    ("AuditEntry", "id"): f"aud_{DIGITS}",
    ("AuditEntry", "data"): {"priority": "high"},
    ("CreatedApiKey", "id"): f"key_{DIGITS}",
    ("CreatedWebhookEndpoint", "id"): f"we_{DIGITS}",
    ("Estimate", "config"): EXAMPLES["smallest"]["value"],
    ("Event", "data"): {"worker": "gpu-3:4711:1f2e3d4c"},
    ("Event", "type"): "running",
    ("File", "id"): f"file_{DIGITS}",
    ("File", "name"): "train.jsonl",
    ("Job", "id"): JOB,
    ("Job", "config"): EXAMPLES["smallest"]["value"],
    ("Job", "name"): "smollm2-135m-p30",
    ("Job", "phase"): "pruning",
    ("Job", "status"): "running",
    ("Job", "allowed"): ["cancel", "pause", "resume", "finish"],
    ("Layer", "kv_groups"): [0, 2],
    ("Me", "project"): "nlp",
    ("Model", "id"): f"mdl_{DIGITS}",
    ("Project", "id"): f"proj_{DIGITS}",
    ("Project", "name"): "nlp",
    ("QuotaUse", "name"): "queued_jobs",
    ("Ref", "name"): "main",
    ("Ref", "kind"): "branch",
    ("Upload", "id"): f"upl_{DIGITS}",
    ("VersionFile", "path"): "model.safetensors",
    ("WebhookDelivery", "id"): f"msg_{DIGITS}",
    ("WebhookDeliveryDetail", "id"): f"msg_{DIGITS}",
    ("WebhookEndpoint", "id"): f"we_{DIGITS}",
}
OF_FIELD: dict[str, Any] = {
    "action": "job.change",
    "base_model": "HuggingFaceTB/SmolLM2-135M",
    "code": "ratio_rounded",
    "commit": COMMIT,
    "base_revision": COMMIT,
    "detail": "It is taken as soon as a worker is free and its turn has come.",
    "endpoint_id": f"we_{DIGITS}",
    "events": ["*.succeeded", "*.failed"],
    "created_at": TIME,
    "queued_at": TIME,
    "started_at": TIME,
    "updated_at": TIME,
    "job": JOB,
    "job_id": JOB,
    "key": "loss",
    "key_id": f"key_{DIGITS}",
    "key_name": "ci",
    "level": "warning",
    "license": "apache-2.0",
    "loads_in": ["transformers", "vllm", "llama.cpp"],
    "message": "The text is short.",
    "metadata": {"team": "nlp"},
    "plan": PLAN,
    "progress": PROGRESS,
    "name": "ci",
    "namespace": "nlp",
    "path": "model.safetensors",
    "pointer": "/method/ratio",
    "prefix": "pk_Zm9v",
    "project_id": f"proj_{DIGITS}",
    "refs": ["main", JOB],
    "request_id": f"req_{DIGITS}",
    "schema": METHOD,
    "secret": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5",
    "sha256": SHA256,
    "target": JOB,
    "title": "smollm2-135m-p30",
    "type": "compression.job.succeeded",
    "url": "https://example.com/hook",
    "worker": "gpu-3:4711:1f2e3d4c",
}
NULL_UNLESS_WRITTEN = (
    "error",
    "result",
    "reason",
    "deprecation",
    "_requested_at",
    "not_before",
    "ed_at",
    "failing_since",
)
"""Of a thing that goes well, these are empty."""


def add(document: Node) -> None:
    """Give an example to every JSON body and every JSON answer that has none; the document is changed."""
    schemas = document["components"]["schemas"]
    for content in _contents(document):
        if JSON in content and not {"example", "examples"} & content[JSON].keys():
            content[JSON]["example"] = of(content[JSON]["schema"], schemas)


def of(schema: Node, schemas: Node, *, within: str = "", field: str = "") -> Any:
    """
    Args:
        within: Name of the schema that this one is a field of.
        field: Its name there.
    """
    if (within, field) in OF_SCHEMA:
        return OF_SCHEMA[within, field]
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return of({**schemas[name], "title": name}, schemas, field=field)
    if "examples" in schema:
        return schema["examples"][0]
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if "enum" in schema:
        return schema["enum"][0]
    kinds = schema.get("anyOf") or schema.get("oneOf") or []
    if field in OF_FIELD:
        return OF_FIELD[field]
    if {"type": "null"} in kinds and field.endswith(NULL_UNLESS_WRITTEN):
        return None
    if kinds:
        return of(kinds[0], schemas, within=within, field=field)
    return _of_type(schema, schemas, field)


def _of_type(schema: Node, schemas: Node, field: str) -> Any:
    match schema.get("type"):
        case "object":
            properties = schema.get("properties", {})
            title = schema.get("title", "")
            made = {name: of(each, schemas, within=title, field=name) for name, each in properties.items()}
            if {"data", "first_id", "last_id"} <= made.keys():
                made["first_id"] = made["last_id"] = made["data"][0].get("id") or made["data"][0].get("commit")
            return made
        case "array":
            return [of(schema["items"], schemas, field=field)] if schema.get("items") else []
        case "integer" | "number":
            return schema.get("minimum", 12)
        case "boolean":
            return False
        case "string" if schema.get("format") == "date-time":
            return TIME
        case "string":
            return f"/v1/compression/jobs/{JOB}/{field}"
        case _:
            return {}


def _contents(document: Node) -> Iterator[Node]:
    for operations in document["paths"].values():
        for operation in operations.values():
            if body := operation.get("requestBody"):
                yield body["content"]
            for status, answer in operation["responses"].items():
                if status.startswith("2"):
                    yield answer.get("content", {})
