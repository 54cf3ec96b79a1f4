"""Free TCP ports on one address."""

import errno
import random
import socket
from collections.abc import Sequence

from cli.stack.failures import StackError

LOOPBACK = "127.0.0.1"

# Below the range from which Linux takes the ports of outgoing connections, so that nobody gets one of ours by chance.
_LOWEST = 15_000
_HIGHEST = 32_000
_TRIES = 200

# Whoever seeds the common source would send two processes to the same ports.
_chance = random.SystemRandom()


def is_free(port: int, address: str = LOOPBACK) -> bool:
    """Whether a server could listen there now; StackError if the address is not one of this machine."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise StackError(f"Nothing can listen on {address}: {error.strerror}.") from error
            return False
    return True


def next_free(port: int, address: str = LOOPBACK) -> int:
    """`port`, or the first free one after it."""
    for candidate in range(port, min(port + _TRIES, 65_536)):
        if is_free(candidate, address):
            return candidate
    raise StackError(f"No port from {port} on is free on {address}.", hint="Name another with --port.")


def free_block(size: int, preferred: Sequence[int] = ()) -> tuple[int, ...]:
    """`size` neighbouring free ports; the preferred ones if they are still free all together.

    Nothing reserves them: a server that finds one taken must be started again with others.
    """
    if len(preferred) == size and all(is_free(port) for port in preferred):
        return tuple(preferred)
    for _ in range(_TRIES):
        first = _chance.randrange(_LOWEST, _HIGHEST - size)
        block = tuple(range(first, first + size))
        if all(is_free(port) for port in block):
            return block
    raise StackError(f"No {size} neighbouring ports between {_LOWEST} and {_HIGHEST} are free on {LOOPBACK}.")
