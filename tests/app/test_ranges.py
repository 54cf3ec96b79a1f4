"""Range and conditional headers, against their plain meaning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import ranges
from app.ranges import Span
from jobs import errors

ETAG = '"abc"'


@given(size=st.integers(1, 40), first=st.integers(0, 50), last=st.integers(0, 50))
def test_a_range_means_the_bytes_from_first_to_last_inclusive(size: int, first: int, last: int) -> None:
    content = bytes(range(size))
    header = f"bytes={first}-{last}"
    if last < first:
        assert ranges.requested(header, size) is None
    elif first >= size:
        with pytest.raises(errors.RangeNotSatisfiable) as refused:
            ranges.requested(header, size)
        assert refused.value.size == size
    else:
        span = ranges.requested(header, size)
        assert span is not None
        assert content[span.start : span.end] == bytes(byte for byte in content if first <= byte <= last)


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, None),
        ("", None),
        ("bytes=-", None),
        ("bytes=2-", Span(2, 10)),
        ("bytes=-3", Span(7, 10)),
        ("bytes=-99", Span(0, 10)),
        ("BYTES=0-0", Span(0, 1)),
        ("bytes = 1 - 2", Span(1, 3)),
        ("bytes=0-1,4-5", None),
        ("lines=0-1", None),
        ("bytes=a-b", None),
        ("bytes=0-" + "9" * 40, None),
        ("bytes=٣-٤", None),
    ],
)
def test_what_is_no_single_range_of_bytes_asks_for_the_whole(header: str | None, span: Span | None) -> None:
    assert ranges.requested(header, 10) == span


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-5", 0)])
def test_bytes_beyond_the_end_cannot_be_had(header: str, size: int) -> None:
    with pytest.raises(errors.RangeNotSatisfiable):
        ranges.requested(header, size)


@pytest.mark.parametrize(
    ("header", "unchanged"),
    [(None, False), ('"x"', False), (ETAG, True), (f"W/{ETAG}", True), (f'"x", {ETAG}', True), ("*", True)],
)
def test_a_known_tag_is_no_news(header: str | None, unchanged: bool) -> None:
    assert ranges.is_unchanged(header, ETAG) is unchanged


@pytest.mark.parametrize(
    ("header", "goes_on"),
    [(None, True), (ETAG, True), ('"x"', False), (f"W/{ETAG}", False), ("Sat, 21 Nov 2026 09:00:00 GMT", False)],
)
def test_a_download_goes_on_only_with_the_same_content(header: str | None, goes_on: bool) -> None:
    assert ranges.may_continue(header, ETAG) is goes_on
