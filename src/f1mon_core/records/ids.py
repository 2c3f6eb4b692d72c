"""Identifiers that sort by time and never collide, without a bare millisecond clock."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from datetime import datetime

from f1mon_core.records.times import to_micros


def new_operation_id() -> str:
    """A fresh operation id: 128 random bits. Made by the caller before the first try of a transition."""
    return secrets.token_hex(16)


def time_id(now: datetime, seed: str | None = None) -> str:
    """A UUIDv7-shaped id (RFC 9562, section 5.7): 48 bits of Unix milliseconds, then 74 bits.

    Args:
        now: The instant the id sorts by.
        seed: What the other bits derive from, so that a repeated step makes the same id; random if None.
    """
    tail = secrets.token_bytes(16) if seed is None else hashlib.sha256(seed.encode("utf-8", "surrogatepass")).digest()
    bits = (to_micros(now) // 1000) << 80 | int.from_bytes(tail[:10], "big")
    bits = bits & ~(0xF << 76) | 0x7 << 76
    bits = bits & ~(0b11 << 62) | 0b10 << 62
    return str(uuid.UUID(int=bits & (1 << 128) - 1))
