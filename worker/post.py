"""One call to an address that a client chose: to nowhere else, for no longer than allowed, and reading little."""

import ipaddress
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ssl import SSLContext

import anyio
import httpx2

from jobs.egress import PORTS, Address, Egress, Target
from jobs.errors import AddressRefused
from worker.deliveries import Answer

KEPT_BYTES = 1024

Resolve = Callable[[str, int], Sequence[Address]]


def resolve(host: str, port: int) -> list[Address]:
    """All addresses of a name, in the order in which to try them. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ipaddress.ip_address(place[0]) for *_, place in found))


class Post:
    """Sends to where the rules allow; safe to share between threads."""

    def __init__(self, egress: Egress, timeout_seconds: float, resolve: Resolve = resolve) -> None:
        self._egress = egress
        self._timeout_seconds = timeout_seconds
        self._resolve = resolve
        # Made once: reading the authorities takes longer than a call.
        self._tls = httpx2.create_ssl_context()

    def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Whatever goes wrong is an answer. Redirects are not followed."""
        began = time.monotonic()
        try:
            target = self._egress.target(url)
            addresses = self._resolve(target.host, target.port)
            self._egress.check(addresses)
            response, start = anyio.run(self._send, target, addresses, headers, body)
        except AddressRefused as error:
            problem = str(error)
        except TimeoutError:
            problem = f"no answer within {self._timeout_seconds:g} s"
        except (OSError, UnicodeError) as error:  # a name that does not resolve, or is none
            problem = f"the name of the host does not resolve: {error}"
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            problem = str(error) or type(error).__name__
        else:
            return Answer(
                status=response.status_code,
                seconds=time.monotonic() - began,
                body=start.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}"),
                retry_after=retry_after(response.headers.get("Retry-After")),
            )
        return Answer(status=None, seconds=time.monotonic() - began, error=problem)

    async def _send(
        self, target: Target, addresses: Sequence[Address], headers: Mapping[str, str], body: bytes
    ) -> tuple[httpx2.Response, bytes]:
        with anyio.fail_after(self._timeout_seconds):
            for address in addresses[:-1]:
                try:
                    return await _send_to(address, target, headers, body, self._tls)
                except httpx2.ConnectError:
                    continue
            return await _send_to(addresses[-1], target, headers, body, self._tls)


async def _send_to(
    address: Address, target: Target, headers: Mapping[str, str], body: bytes, tls: SSLContext
) -> tuple[httpx2.Response, bytes]:
    """To this very address, whatever the name means by now; its certificate must be the name's."""
    place = f"[{address}]" if address.version == 6 else str(address)
    name = f"[{target.host}]" if ":" in target.host else target.host
    host = name if target.port == PORTS[target.scheme] else f"{name}:{target.port}"
    sent = {**headers, "Host": host, "Accept-Encoding": "identity", "Connection": "close"}
    url = f"{target.scheme}://{place}:{target.port}{target.path}"
    async with (
        httpx2.AsyncClient(verify=tls, trust_env=False, timeout=None) as client,
        client.stream("POST", url, headers=sent, content=body, extensions={"sni_hostname": target.host}) as response,
    ):
        start = b""
        async for chunk in response.aiter_raw():
            start += chunk
            if len(start) >= KEPT_BYTES:
                break
        return response, start[:KEPT_BYTES]


def retry_after(header: str | None) -> float | None:
    """Seconds to wait, by a number of them or by a date; None if it says neither."""
    if header is None:
        return None
    if header.isascii() and header.isdigit():
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # no date, or one without a zone
        return None
