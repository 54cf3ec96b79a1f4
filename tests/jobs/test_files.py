"""Object storage, as it really answers."""

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from jobs import errors
from jobs.files import Files, attachment, blob_key, split_uri
from jobs.settings import Settings
from jobs.uploads import PART_BYTES

SOME = os.urandom(100_000)


class Stop(Exception):
    """Raised by a listener that wants no more."""


class Patience:
    """A listener that hears of one part and raises."""

    def __init__(self) -> None:
        self.heard = 0

    def hear(self, count: int) -> None:
        self.heard += count
        if self.heard > PART_BYTES:
            raise Stop


@pytest.fixture
def files(settings: Settings) -> Files:
    return Files(settings)


def leftovers(files: Files) -> int:
    return len(files._s3.list_multipart_uploads(Bucket=files.bucket).get("Uploads", []))


def content(files: Files, key: str) -> bytes:
    size = files.size(key)
    assert size is not None
    return b"".join(files.open_range(key, 0, size))


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 7])
def test_a_stream_is_stored_whole_with_its_hash(size: int, files: Files, subtests: pytest.Subtests) -> None:
    data = (SOME * (size // len(SOME) + 1))[:size]
    for piece in (77_777, 3 * PART_BYTES):
        with subtests.test(piece=piece):
            stored = files.put_stream((data[at : at + piece] for at in range(0, size, piece)), "a/stream")
            assert (stored.bytes, stored.sha256) == (size, hashlib.sha256(data).hexdigest())
            assert content(files, "a/stream") == data
            assert leftovers(files) == 0


def test_a_stream_that_fails_or_is_too_long_leaves_nothing(files: Files) -> None:
    def failing() -> Iterator[bytes]:
        yield b"x" * (PART_BYTES + 1)
        raise Stop

    with pytest.raises(Stop):
        files.put_stream(failing(), "a/stream")
    with pytest.raises(errors.BodyTooLarge):
        files.put_stream([b"x" * PART_BYTES] * 2, "a/stream", limit=2 * PART_BYTES - 1)
    assert files.put_stream([b"x" * PART_BYTES], "a/other", limit=PART_BYTES).bytes == PART_BYTES
    assert files.size("a/stream") is None
    assert leftovers(files) == 0


def test_files_go_up_and_come_down_as_they_are(files: Files, tmp_path: Path) -> None:
    data = SOME * 200  # more than two parts
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(data)
    sent: list[int] = []
    received: list[int] = []
    files.put_file(source, "blob", sent.append)
    files.get_file("blob", target, received.append)
    assert target.read_bytes() == data
    assert sum(sent) == sum(received) == len(data) == files.size("blob")


def test_a_listener_can_end_a_transfer_and_nothing_half_done_is_seen(files: Files, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(SOME * 400)

    with pytest.raises(Stop):
        files.put_file(source, "blob", Patience().hear)
    assert files.size("blob") is None
    assert leftovers(files) == 0
    files.put_file(source, "blob")
    with pytest.raises(Stop):
        files.get_file("blob", target, Patience().hear)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_ranges_are_half_open_and_an_abandoned_one_is_closed(files: Files) -> None:
    files.put_bytes("blob", SOME)

    @given(st.integers(0, len(SOME)), st.integers(0, len(SOME)))
    @effort(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def any_range(start: int, end: int) -> None:
        assert b"".join(files.open_range("blob", start, end)) == SOME[start:end]

    any_range()
    for _ in range(60):  # more than there are connections in the pool
        next(files.open_range("blob", 0, len(SOME)))
    assert files.read("blob", 10) == SOME[:10]
    files.put_bytes("empty", b"")
    assert files.read("empty", 10) == b""


def test_what_is_not_there_is_not_found(files: Files, tmp_path: Path) -> None:
    assert files.size("nothing") is None
    assert files.size("nothing", bucket="no-such-bucket") is None
    assert files.list_prefix("s3://no-such-bucket/x") == []
    for ask in (
        lambda: files.read("nothing", 10),
        lambda: files.open_range("nothing", 0, 10),
        lambda: files.get_file("nothing", tmp_path / "x"),
    ):
        with pytest.raises(errors.NotFound):
            ask()
    assert list(tmp_path.iterdir()) == []
    files.delete("nothing")


def test_a_prefix_is_a_folder(files: Files) -> None:
    for key in ("models/a/config.json", "models/a/sub/x", "models/ab/config.json", "models/a"):
        files.put_bytes(key, b"12")
    listed = files.list_prefix(f"s3://{files.bucket}/models/a")
    assert [(entry.name, entry.bytes) for entry in listed] == [("config.json", 2), ("sub/x", 2)]
    assert files.list_prefix(f"s3://{files.bucket}/models/a/", limit=1) == listed[:1]
    assert split_uri("s3://bucket/a/b") == ("bucket", "a/b")


def test_a_presigned_link_needs_no_key_and_cannot_be_changed(settings: Settings) -> None:
    files = Files(settings, public_endpoint=settings.s3_endpoint.replace("127.0.0.1", "localhost"))
    files.put_bytes("blob", SOME)
    link = files.presign("blob", "mödel.bin", expires=60)
    assert link.startswith("http://localhost:")
    with urllib.request.urlopen(link) as download:
        assert download.read() == SOME
        assert download.headers["Content-Disposition"] == attachment("mödel.bin")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(link.replace("/blob?", "/other?"))


def test_the_bucket_is_made_once(settings: Settings) -> None:
    fresh = Files(settings.model_copy(update={"s3_bucket": f"{settings.s3_bucket}-fresh"}))
    with pytest.raises(errors.StorageUnavailable):
        fresh.reachable()
    fresh.ensure_bucket()
    fresh.ensure_bucket()
    fresh.reachable()
    fresh._s3.delete_bucket(Bucket=fresh.bucket)


@pytest.mark.parametrize("wrong", ["address", "secret"])
def test_a_storage_that_is_silent_or_refuses_us_has_one_name(wrong: str, settings: Settings, tmp_path: Path) -> None:
    update = {"s3_endpoint": "http://127.0.0.1:1"} if wrong == "address" else {"s3_secret_key": settings.api_key}
    files = Files(settings.model_copy(update=update))
    (tmp_path / "x").write_bytes(b"x")
    for ask in (
        files.reachable,
        files.ensure_bucket,
        lambda: files.size("x"),
        lambda: files.read("x", 1),
        lambda: files.put_bytes("x", b"x"),
        lambda: files.put_stream([b"x" * PART_BYTES], "x"),
        lambda: files.put_file(tmp_path / "x", "x"),
        lambda: files.get_file("x", tmp_path / "y"),
        lambda: files.list_prefix(f"s3://{files.bucket}/x"),
        lambda: files.delete("x"),
    ):
        with pytest.raises(errors.StorageUnavailable) as refused:
            ask()
        assert refused.value.retryable


def test_a_full_disk_is_named(files: Files) -> None:
    files.put_bytes("blob", SOME)
    with pytest.raises(errors.OutOfDisk):
        files.get_file("blob", Path("/dev/full"))


def test_blobs_lie_under_their_hash() -> None:
    assert blob_key("ab" + "c" * 62) == "blobs/sha256/ab/ab" + "c" * 62
