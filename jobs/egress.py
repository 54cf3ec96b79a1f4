"""Which addresses of the world outside the service may be made to call: a webhook must be no way into our own network.

A name is resolved once, every address that it has must be allowed, and the call goes to one of these very addresses.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from jobs.errors import AddressRefused
from jobs.settings import Settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PORTS = {"http": 80, "https": 443}

# What Python, in the oldest version that we run on, calls global though it is no place of the public internet.
NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            # IPv4 addresses in disguise: NAT64, 6to4 and its relays, translated, compatible.
            *("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "192.88.99.0/24", "::ffff:0:0:0/96", "::/96"),
            # For protocols, one network or documents only.
            *("192.0.0.0/24", "2001::/23", "fec0::/10", "5f00::/16", "3fff::/20"),
            # Where one cloud keeps its machines' secrets.
            "168.63.129.16/32",
        ),
    )
)


@dataclass(frozen=True)
class Target:
    """Where a URL leads."""

    scheme: str
    host: str
    port: int
    path: str  # with its query


class Egress:
    """The rules of one deployment."""

    def __init__(self, settings: Settings) -> None:
        self._schemes = ("https", "http") if settings.webhook_http else ("https",)
        self._ports = settings.webhook_ports
        self._allowed: tuple[Network, ...] = settings.webhook_networks

    def target(self, url: str) -> Target:
        """The parts of a URL that may be called, as far as that can be said without resolving its name.

        Raises:
            AddressRefused
        """
        if any(letter.isspace() or not letter.isprintable() for letter in url) or "\\" in url:
            raise AddressRefused("The URL holds a space, a backslash or a control character.")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise AddressRefused(f"That is no URL: {error}.") from error
        if parts.scheme not in self._schemes:
            raise AddressRefused(f"The URL must begin with {' or '.join(f'{each}://' for each in self._schemes)}.")
        if not parts.hostname:
            raise AddressRefused("The URL names no host.")
        if parts.username is not None or parts.password is not None:
            raise AddressRefused("The URL holds a user or a password; receivers know us by the signature.")
        if parts.fragment:
            raise AddressRefused("The URL holds a fragment, which is never sent.")
        port = PORTS[parts.scheme] if port is None else port
        if self._ports and port not in self._ports:
            allowed = ", ".join(map(str, self._ports))
            raise AddressRefused(f"Port {port} is not allowed.", hint=f"PRUNERY_WEBHOOK_PORTS allows {allowed}.")
        if (address := _literal(parts.hostname)) is not None:
            self.check([address])
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Target(parts.scheme, parts.hostname, port, path)

    def check(self, addresses: Iterable[Address]) -> None:
        """
        Raises:
            AddressRefused: one of them is not public, nor in a network that this deployment allows.
        """
        for address in addresses:
            if not (is_public(address) or any(address in network for network in self._allowed)):
                raise AddressRefused(
                    f"{address} is not an address of the public internet.",
                    hint="An operator can allow a network with PRUNERY_WEBHOOK_NETWORKS.",
                )


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet, and hides no other."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return False
    return address.is_global and not address.is_multicast and not any(address in network for network in NOT_PUBLIC)


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
