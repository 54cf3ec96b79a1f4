"""A long series as a short one that looks the same."""

from collections.abc import Sequence


def largest_triangles(xs: Sequence[float], ys: Sequence[float], count: int) -> list[int]:
    """The places of at most `count` points, the first and the last among them; `count` is at least 2.

    The points between are dealt into equal buckets; of each, the one is kept that spans the largest triangle with the
    one kept before it and the mean of the bucket after it.

    Source: S. Steinarsson, "Downsampling Time Series for Visual Representation", University of Iceland 2013, section
    4.2 (Largest-Triangle-Three-Buckets).
    """
    size = len(xs)
    if size <= count:
        return list(range(size))
    edges = [1 + number * (size - 2) // (count - 2) for number in range(count - 1)] if count > 2 else []
    kept = [0]
    for start, end, after in zip(edges, edges[1:], [*edges[2:], size], strict=False):
        mean_x = sum(xs[end:after]) / (after - end)
        mean_y = sum(ys[end:after]) / (after - end)
        x, y = xs[kept[-1]], ys[kept[-1]]
        kept.append(
            max(range(start, end), key=lambda at: abs((x - mean_x) * (ys[at] - y) - (x - xs[at]) * (mean_y - y)))
        )
    return [*kept, size - 1]
