"""What the demo shows at its end: numbers in one table, words side by side."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli import numbers

MISSING = "–"


def show_numbers(console: Console, result: Mapping[str, Any]) -> None:
    """Dense, dense after the same tuning, pruned."""
    dense, tuned, pruned = result["dense"], result["dense_finetuned"], result["pruned"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("dense", justify="right")
    table.add_column("dense after the\nsame fine-tuning", justify="right")
    table.add_column("pruned", justify="right", style="bold")
    table.add_column("pruned\nagainst dense", justify="right", style="dim")

    def row(name: str, show: Any, key: str, middle: float | None) -> None:
        before, after = dense[key], pruned[key]
        table.add_row(
            name, show(before), MISSING if middle is None else show(middle), show(after), numbers.change(before, after)
        )

    row("parameters", numbers.exact, "parameters", dense["parameters"])
    row("on disk", numbers.size, "bytes", None)
    row("perplexity, held-out text", numbers.perplexity, "perplexity", tuned["perplexity"])
    row("prefill, tokens/s", numbers.rate, "prefill_tokens_per_second", None)
    row("decode, tokens/s", numbers.rate, "decode_tokens_per_second", None)
    console.print(table)
    asked, got = 100 * result["requested_ratio"], 100 * result["achieved_ratio"]
    console.print(Text(f"Asked to remove {asked:.1f} % of the block parameters; removed {got:.2f} %."))


def show_words(console: Console, samples: list[Mapping[str, str]]) -> None:
    """Each prompt continued by both models."""
    for sample in samples:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=Text(f"“{sample['prompt']} …”"), title_justify="left")
        table.add_column("dense", ratio=1)
        table.add_column("pruned", ratio=1)
        table.add_row(Text(sample["dense"].strip()), Text(sample["pruned"].strip()))
        console.print(table)
