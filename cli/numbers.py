"""Sizes as people read them."""


def parameters(count: float) -> str:
    """`134.5 M`."""
    return _scaled(count, 1000, ("", " k", " M", " B", " T"))


def exact(count: int) -> str:
    """`134,515,008`."""
    return f"{count:,}"


def rate(value: float) -> str:
    """`812` or `8.1`, of something per second."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def size(count: float) -> str:
    """Bytes, in powers of 1024: `269.1 MiB`."""
    return _scaled(count, 1024, (" B", " KiB", " MiB", " GiB", " TiB"))


def perplexity(value: float) -> str:
    """Three digits that matter: `9.87`, `12.3`, `1,230`."""
    return f"{value:,.2f}" if value < 10 else f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def change(before: float, after: float) -> str:
    """`-21.0 %`."""
    return f"{100 * (after / before - 1):+.1f} %" if before else ""


def _scaled(value: float, base: int, units: tuple[str, ...]) -> str:
    power = 0
    while abs(value) >= base and power + 1 < len(units):
        value /= base
        power += 1
    return f"{value:.0f}{units[power]}" if power == 0 else f"{value:.1f}{units[power]}"
