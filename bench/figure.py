"""One measured number beside the promise that it is held to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`bar` is the most that `value` may be, or with `at_least` the least."""

    name: str
    value: float
    unit: str
    bar: float
    at_least: bool = False

    @property
    def is_ok(self) -> bool:
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    def __str__(self) -> str:
        return f"BENCH {self.name} {self.value:.6g} {self.unit} {self.bar:.6g} {'ok' if self.is_ok else 'short'}"
