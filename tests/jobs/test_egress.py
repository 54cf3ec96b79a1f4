"""What a webhook may call, and what it must not."""

import ipaddress

import pytest

from jobs.egress import Egress, is_public
from jobs.errors import AddressRefused
from jobs.settings import Settings

PUBLIC = ("93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946")
NOT_PUBLIC = (
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",  # carrier-grade NAT
    "100.100.100.200",  # a cloud's metadata
    "127.0.0.1",
    "127.8.8.8",
    "168.63.129.16",  # a cloud's metadata
    "169.254.169.254",  # most clouds' metadata
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",  # a cloud's metadata
    "192.168.1.1",
    "192.88.99.1",  # relays of 6to4
    "198.18.0.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",  # IPv4-compatible 127.0.0.1
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",  # translated
    "64:ff9b::7f00:1",  # NAT64 of 127.0.0.1
    "64:ff9b:1::a00:1",
    "100::1",
    "2001:db8::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo
    "2002:7f00:1::",  # 6to4 of 127.0.0.1
    "fc00::1",
    "fd00:ec2::254",  # a cloud's metadata
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
)


@pytest.fixture
def egress(settings: Settings) -> Egress:
    return Egress(settings)


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_may_be_called(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_none_of_the_internet_may_not(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


def test_one_bad_address_among_good_ones_is_enough(egress: Egress) -> None:
    egress.check(map(ipaddress.ip_address, PUBLIC))
    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1 is not"):
        egress.check(map(ipaddress.ip_address, (*PUBLIC, "10.0.0.1")))


def test_only_the_networks_that_are_named_are_allowed(settings: Settings) -> None:
    networks = (ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("::1/128"))
    egress = Egress(settings.model_copy(update={"webhook_networks": networks}))
    egress.check(map(ipaddress.ip_address, ("10.1.2.3", "::1")))
    for address in ("10.2.0.1", "127.0.0.1", "::ffff:10.1.2.3"):
        with pytest.raises(AddressRefused):
            egress.check([ipaddress.ip_address(address)])


def test_a_sound_url_is_taken_apart(egress: Egress) -> None:
    target = egress.target("https://Hooks.example.com:8443/a/b?c=d%20e")
    assert (target.scheme, target.host, target.port, target.path) == (
        "https",
        "hooks.example.com",
        8443,
        "/a/b?c=d%20e",
    )
    assert (egress.target("https://example.com").port, egress.target("https://example.com").path) == (443, "/")
    assert egress.target("https://[2606:2800:220:1:248:1893:25c8:1946]/").host == "2606:2800:220:1:248:1893:25c8:1946"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com/", "must begin with https://"),
        ("ftp://example.com/", "must begin with"),
        ("file:///etc/passwd", "must begin with"),
        ("example.com/hook", "must begin with"),
        ("https:///hook", "names no host"),
        ("https://user@example.com/", "a user or a password"),
        ("https://user:word@example.com/", "a user or a password"),
        ("https://:@example.com/", "a user or a password"),
        ("https://example.com:22/", "Port 22 is not allowed"),
        ("https://example.com:99999/", "no URL"),
        ("https://example.com:0/", "Port 0"),
        ("https://example.com/#part", "fragment"),
        ("https://exa mple.com/", "a space"),
        ("https://example.com/\r\nX-Evil: 1", "a space"),
        ("https://example.com\\@127.0.0.1/", "backslash"),
        ("https://127.0.0.1/", "not an address of the public"),
        ("https://169.254.169.254/latest/meta-data/", "not an address of the public"),
        ("https://[::1]/", "not an address of the public"),
        ("https://[::ffff:10.0.0.1]/", "not an address of the public"),
        ("https://[::1/", "no URL"),
    ],
)
def test_an_unsound_url_is_refused_with_the_reason(url: str, why: str, egress: Egress) -> None:
    with pytest.raises(AddressRefused, match=why):
        egress.target(url)


def test_http_and_all_ports_can_be_allowed(settings: Settings) -> None:
    egress = Egress(settings.model_copy(update={"webhook_http": True, "webhook_ports": ()}))
    assert egress.target("http://example.com:8025/").port == 8025
    assert egress.target("http://example.com/").port == 80
