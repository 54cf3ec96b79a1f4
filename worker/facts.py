"""What a client is told of a published folder without reading it; as much as its files say."""

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.tables import Json
from worker.storable import storable

LONGEST_HEADER_BYTES = 100 * 10**6  # what readers of safetensors take
REPORT, CERTIFICATE, CONFIGURATION = "compression_report.json", "certificate.json", "config.json"


@dataclass(frozen=True)
class Facts:
    """What could be read."""

    shown: Json
    """`config`, `parameters` by dtype, `quality` in numbers, `quality_line`, `certificate`: those that are known."""
    base_revision: str | None
    license: str | None
    """Of the base model, as its model card states it."""


def read(folder: Path) -> Facts:
    config, report = _object(folder / CONFIGURATION), _object(folder / REPORT)
    found: Json = {
        "config": {key: config[key] for key in ("architectures", "model_type") if key in config},
        "parameters": _parameters(folder),
        "quality": _quality(report),
        "quality_line": _line(report),
        "certificate": {name: fact for name, fact in _object(folder / CERTIFICATE).items() if name != "files"},
    }
    base = report.get("base_model")
    known = base if isinstance(base, dict) else {}
    shown = storable({name: fact for name, fact in found.items() if fact})
    return Facts(shown, known.get("revision"), known.get("licence"))


def _object(path: Path) -> Json:
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _parameters(folder: Path) -> dict[str, int]:
    """How many there are of each dtype, by the headers of the safetensors files."""
    counts: Counter[str] = Counter()
    for path in sorted(folder.glob("*.safetensors")):
        for name, entry in _header(path).items():
            if name != "__metadata__":
                counts[entry["dtype"]] += math.prod(entry["shape"])
    return dict(counts)


def _header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > LONGEST_HEADER_BYTES:
            return {}
        try:
            header = json.loads(file.read(length))
        except ValueError:
            return {}
    return header if isinstance(header, dict) else {}


def _quality(report: Json) -> Json:
    if not {"dense", "pruned"} <= report.keys():
        return {}
    figures = ("parameters", "bytes", "perplexity", "prefill_tokens_per_second", "decode_tokens_per_second")
    quality: Json = {which: {name: report[which].get(name) for name in figures} for which in ("dense", "pruned")}
    return quality | {
        name: report.get(name) for name in ("requested_ratio", "achieved_ratio", "perplexity_protocol", "agreement")
    }


def _line(report: Json) -> str | None:
    """In ASCII: it goes into a header."""
    try:
        dense, pruned = report["dense"]["perplexity"], report["pruned"]["perplexity"]
        removed = f"{100 * report['achieved_ratio']:.3g} % of the block parameters removed"
        return f"perplexity {dense:.4g} -> {pruned:.4g}, {removed}"
    except (KeyError, TypeError, ValueError):
        return None
