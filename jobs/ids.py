"""Ids that sort by the time of their making: a prefix that says what it names, then a UUIDv7 (RFC 9562) in hex."""

import secrets
import time


def new(prefix: str) -> str:
    milliseconds = time.time_ns() // 1_000_000
    random = secrets.randbits(74)
    version, variant = 0x7, 0b10
    value = milliseconds << 80 | version << 76 | (random >> 62) << 64 | variant << 62 | random & (1 << 62) - 1
    return f"{prefix}_{value:032x}"
