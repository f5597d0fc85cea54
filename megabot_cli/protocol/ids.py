"""Names for messages, sessions and executions that sort by the time they were made."""

from __future__ import annotations

from typing import Literal

Prefix = Literal["msg", "sess", "exec", "task", "stream", "user", "client", "link", "rec", "epoch"]

DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u to misread


def base32(number: int, width: int) -> str:
    """The lowest `width` digits of a number."""
    digits = []
    for _ in range(width):
        digits.append(DIGITS[number & 31])
        number >>= 5
    return "".join(reversed(digits))


def make_id(prefix: Prefix, now_ms: int, entropy: bytes) -> str:
    """Return `prefix_` + 9 digits of time + 8 of chance, e.g. `msg_1jg3k5v2w0a7f4hq2m`.

    `now_ms` is wall-clock milliseconds since 1970; `entropy` at least 5 random bytes.
    """
    return f"{prefix}_{base32(now_ms, 9)}{base32(int.from_bytes(entropy[:5], 'big'), 8)}"
