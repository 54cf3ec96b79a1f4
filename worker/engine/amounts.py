"""Numbers in few digits and with their units, for people."""

import math


def count(value: float) -> str:
    """1234567 is `1.23 M`."""
    for unit, name in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{_digits(value / unit)}{name}"
    return f"{value:.0f}"


def size(value: float) -> str:
    """Bytes in powers of 1000, as disks are sold."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= unit:
            return f"{_digits(value / unit)} {name}"
    return f"{value:.0f} B"


def rate(value: float) -> str:
    """Per second: three digits at least."""
    return _digits(value)


def duration(seconds: float) -> str:
    """Milliseconds below a second."""
    return f"{_digits(seconds)} s" if seconds >= 1 else f"{_digits(1000 * seconds)} ms"


def perplexity(value: float) -> str:
    """Two decimals while they mean something."""
    return f"{value:.2f}" if value < 1000 else f"{value:.3g}"


def percent(value: float) -> str:
    """0.1234 is `12.3 %`."""
    return f"{100 * value:.1f} %"


def _digits(value: float) -> str:
    decimals = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:,.{decimals}f}"
