"""Calls to real receivers: only where they may go, for no longer than they may last."""

import ipaddress
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import trustme

from jobs.egress import Address, Egress, Network
from jobs.settings import Settings
from tests.receiver import Receiver
from worker.post import Post, retry_after

HERE = ipaddress.ip_address("127.0.0.1")
NEXT_DOOR = ipaddress.ip_address("127.0.0.2")


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with Receiver(tmp_path / "receiver") as running:
        yield running


def egress(settings: Settings, *networks: str, http: bool = True) -> Egress:
    allowed: tuple[Network, ...] = tuple(map(ipaddress.ip_network, networks))
    return Egress(settings.model_copy(update={"webhook_http": http, "webhook_ports": (), "webhook_networks": allowed}))


def names(*answers: list[Address]) -> Callable[[str, int], list[Address]]:
    """A resolver whose answer changes with each question."""
    left = list(answers)
    return lambda host, port: left.pop(0)


def test_a_message_arrives_as_it_was_sent_and_the_answer_is_cut(settings: Settings, receiver: Receiver) -> None:
    receiver.answer(202, "ä" * 3000)
    answer = Post(egress(settings, "127.0.0.0/8"), 15)(receiver.url, {"X-One": "1"}, b'{"a": 1}')
    assert (answer.status, answer.ok, answer.error, answer.body) == (202, True, None, "ä" * 512)
    (heard,) = receiver.heard
    assert (heard["path"], heard["body"], heard["headers"]["x-one"]) == ("/hook?a=b", '{"a": 1}', "1")
    assert heard["headers"]["host"] == f"127.0.0.1:{receiver.port}"


def test_without_leave_nothing_of_this_machine_is_called(settings: Settings, receiver: Receiver) -> None:
    post = Post(egress(settings), 15)
    for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "127.1"):
        answer = post(f"http://{host}:{receiver.port}/", {}, b"")
        assert answer.error is not None, host
        assert "not an address of the public internet" in answer.error, host
    assert receiver.heard == []


def test_a_name_that_changes_its_address_leads_to_the_one_that_was_checked(settings: Settings, tmp_path: Path) -> None:
    with Receiver(tmp_path / "here") as here, Receiver(tmp_path / "there", host="127.0.0.2") as next_door:
        resolver = names([HERE], [NEXT_DOOR], [HERE, NEXT_DOOR])
        post = Post(egress(settings, "127.0.0.1/32"), 15, resolver)
        assert post(f"http://rebinding.example:{here.port}/first", {}, b"").status == 204
        for _ in range(2):
            refused = post(f"http://rebinding.example:{next_door.port}/second", {}, b"")
            assert refused.error is not None
            assert "127.0.0.2 is not an address" in refused.error
        assert [heard["path"] for heard in here.heard] == ["/first"]
        assert here.heard[0]["headers"]["host"] == f"rebinding.example:{here.port}"
        assert next_door.heard == []


def test_the_next_address_is_tried_where_the_first_does_not_answer(settings: Settings, receiver: Receiver) -> None:
    post = Post(egress(settings, "127.0.0.0/8"), 15, names([NEXT_DOOR, HERE]))
    assert post(f"http://two.example:{receiver.port}/", {}, b"").status == 204


def test_a_redirect_is_not_followed(settings: Settings, receiver: Receiver, tmp_path: Path) -> None:
    with Receiver(tmp_path / "elsewhere") as elsewhere:
        receiver.answer(307, Location=elsewhere.url)
        answer = Post(egress(settings, "127.0.0.0/8"), 15)(receiver.url, {}, b"{}")
        assert (answer.status, answer.ok) == (307, False)
        assert elsewhere.heard == []


def test_an_answer_that_drips_is_cut_off_in_time(settings: Settings, receiver: Receiver) -> None:
    receiver.answer(200, "slowly", seconds=30)
    answer = Post(egress(settings, "127.0.0.0/8"), 1)(receiver.url, {}, b"{}")
    assert (answer.status, answer.error) == (None, "no answer within 1 s")
    assert answer.seconds < 15


def test_what_cannot_be_reached_is_an_answer_too(settings: Settings, tmp_path: Path) -> None:
    post = Post(egress(settings, "127.0.0.0/8"), 15)
    with Receiver(tmp_path) as receiver:
        pass
    closed = post(receiver.url, {}, b"{}")
    assert closed.status is None
    assert closed.error
    unknown = post("http://nowhere.invalid/", {}, b"{}")
    assert unknown.error is not None
    assert "does not resolve" in unknown.error
    assert post("http://a..b/", {}, b"{}").error
    assert post("ftp://example.com/", {}, b"{}").error


def test_the_certificate_must_be_that_of_the_name(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    authority.issue_cert("hooks.example").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    with Receiver(tmp_path / "receiver", certificate=tmp_path / "server.pem") as receiver:
        post = Post(egress(settings, "127.0.0.1/32", http=False), 15, lambda host, port: [HERE])
        assert post(f"https://hooks.example:{receiver.port}/", {}, b"{}").status == 204
        other = post(f"https://other.example:{receiver.port}/", {}, b"{}")
        assert other.error is not None
        assert "certificate" in other.error.lower()
        assert len(receiver.heard) == 1


def test_how_long_to_wait_is_read_as_a_number_or_a_date() -> None:
    assert retry_after("120") == 120
    soon = retry_after(format_datetime(datetime.now(UTC) + timedelta(minutes=5), usegmt=True))
    assert soon is not None
    assert 200 < soon <= 300
    assert retry_after("Thu, 01 Jan 1970 00:00:00 GMT") == 0
    for nothing in (None, "", "soon", "-5", "٣"):
        assert retry_after(nothing) is None
