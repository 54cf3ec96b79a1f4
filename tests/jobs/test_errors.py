"""The tree of errors: clients match on its codes."""

import re

import pytest

from jobs import errors
from jobs.errors import PruneryError


def below(kind: type[PruneryError]) -> list[type[PruneryError]]:
    return [kind, *(other for child in kind.__subclasses__() for other in below(child))]


TREE = [kind for kind in below(PruneryError) if kind.__module__.startswith("jobs.")]


def test_every_kind_is_drawn_at_its_place_in_the_module() -> None:
    drawn = re.findall(r"^([│├└─ ]*)(\w+(?:, \w+)*)(?:  |$)", errors.__doc__ or "", re.MULTILINE)
    depths = {name: len(lead) // 4 for lead, names in drawn for name in names.split(", ") if hasattr(errors, name)}
    assert depths == {kind.__name__: len(kind.__mro__) - len(PruneryError.__mro__) for kind in TREE}


@pytest.mark.parametrize("kind", TREE)
def test_every_kind_says_how_it_is_answered(kind: type[PruneryError]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind.code)
    assert 400 <= kind.status < 600
    assert kind.title
    assert kind.__doc__
    if kind.status == 503:
        assert kind.retryable
    if 400 <= kind.status < 500 and kind.retryable:
        assert kind.status in (409, 429), "only what others do may change by itself"


def test_no_two_leaves_share_a_code() -> None:
    leaves = [kind for kind in TREE if not kind.__subclasses__()]
    assert len({kind.code for kind in leaves}) == len(leaves)


def test_an_error_reads_as_a_sentence_and_a_hint() -> None:
    assert str(errors.DatasetEmpty("There is no text.")) == "There is no text."
    assert str(errors.DatasetEmpty("There is no text.", hint="Add some.")) == "There is no text. Add some."
