"""How far two models' answers are from each other."""

from torch import Tensor


def part_of_spread(found_TV: Tensor, expected_TV: Tensor) -> float:
    """Root mean square of the difference of logits, over the standard deviation of those expected."""
    return float((found_TV - expected_TV).square().mean().sqrt() / expected_TV.std())


def same_likeliest(found_TV: Tensor, expected_TV: Tensor) -> float:
    """Part of the tokens at which both find the same next token likeliest."""
    return float((found_TV.argmax(-1) == expected_TV.argmax(-1)).double().mean())
