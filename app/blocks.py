"""The body of a request in pieces that are worth a change of thread, from a client that must not fall silent."""

from collections.abc import AsyncIterator

from anyio import fail_after
from starlette.exceptions import HTTPException

SILENCE_SECONDS = 60


async def of(chunks: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """Blocks of at least `size` bytes, but for the last; never an empty one."""
    block = bytearray()
    while chunk := await _within_patience(chunks):
        block += chunk
        if len(block) >= size:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


async def _within_patience(chunks: AsyncIterator[bytes]) -> bytes:
    try:
        with fail_after(SILENCE_SECONDS):
            return await anext(chunks, b"")
    except TimeoutError as error:
        raise HTTPException(408, f"Nothing came for {SILENCE_SECONDS} seconds.") from error
