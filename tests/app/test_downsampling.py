"""Short series against the definition, computed the slow way, and against answers that are known."""

import math
import random
from fractions import Fraction
from itertools import pairwise

import pytest

from app.downsampling import largest_triangles


def slow(xs: list[int], ys: list[Fraction], count: int) -> list[int]:
    """The definition, in exact arithmetic."""
    inner = list(range(1, len(xs) - 1))
    edges = [number * len(inner) // (count - 2) for number in range(count - 1)]
    buckets = [[0], *(inner[start:end] for start, end in pairwise(edges)), [len(xs) - 1]]
    kept = [0]
    for bucket, after in pairwise(buckets[1:]):
        mean = (Fraction(sum(xs[at] for at in after), len(after)), sum(ys[at] for at in after) / len(after))
        areas = []
        for at in bucket:
            (ax, ay), (bx, by), (cx, cy) = (xs[kept[-1]], ys[kept[-1]]), (xs[at], ys[at]), mean
            areas.append(abs(ax * (by - cy) + bx * (cy - ay) + cx * (ay - by)) / 2)
        kept.append(bucket[areas.index(max(areas))])
    return [*kept, len(xs) - 1]


@pytest.mark.parametrize("seed", range(20))
def test_it_keeps_what_the_definition_keeps(seed: int) -> None:
    chance = random.Random(seed)
    size = chance.randint(5, 200)
    xs = sorted(chance.sample(range(1000), size))
    ys = [Fraction(chance.randint(-50, 50)) for _ in range(size)]
    count = chance.randint(3, size - 1)
    assert largest_triangles(xs, [float(y) for y in ys], count) == slow(xs, ys, count)


def test_peaks_stay() -> None:
    ys = [0.0] * 1000
    ys[137], ys[700] = 5.0, -3.0
    kept = largest_triangles(range(1000), ys, 20)
    assert len(kept) == 20
    assert {0, 137, 700, 999} <= set(kept)
    assert kept == sorted(set(kept))


def test_what_is_short_stays_whole_and_the_ends_always_stay() -> None:
    assert largest_triangles([], [], 5) == []
    assert largest_triangles([3], [1.0], 2) == [0]
    assert largest_triangles(range(5), [math.sin(x) for x in range(5)], 5) == [0, 1, 2, 3, 4]
    assert largest_triangles(range(100), [0.0] * 100, 2) == [0, 99]
    assert len(largest_triangles(range(100), [0.0] * 100, 3)) == 3
