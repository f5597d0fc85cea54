"""Ids made now: by the real clock, with real chance."""

from __future__ import annotations

import os
import time
from typing import Final

from megabot_cli.protocol.ids import DIGITS, Prefix, base32, make_id

_AT_ONCE: Final = 256
_DIGIT_OF: Final = DIGITS.encode() * 8  # of a byte that chance chose: each is as likely


def new_id(prefix: Prefix) -> str:
    """A new id such as `msg_1jg3k5v2w0a7f4hq2m`; later ones sort after earlier ones."""
    return make_id(prefix, time.time_ns() // 1_000_000, os.urandom(5))


class IdMint:
    """Makes ids as `new_id` does, for who needs thousands: the system is asked for chance once
    for many of them, and a millisecond is written once."""

    def __init__(self) -> None:
        self._at_ms = -1
        self._time = ""
        self._chance = ""
        self._used = 0

    def many(self, prefix: Prefix, count: int) -> list[str]:
        """As many calls would give, in a third of their time."""
        head = f"{prefix}_{base32(time.time_ns() // 1_000_000, 9)}"
        chance = os.urandom(8 * count).translate(_DIGIT_OF).decode()
        return [f"{head}{chance[start : start + 8]}" for start in range(0, 8 * count, 8)]

    def __call__(self, prefix: Prefix) -> str:
        now_ms = time.time_ns() // 1_000_000
        if now_ms != self._at_ms:
            self._at_ms, self._time = now_ms, base32(now_ms, 9)
        if self._used == len(self._chance):
            self._chance = os.urandom(8 * _AT_ONCE).translate(_DIGIT_OF).decode()
            self._used = 0
        start = self._used
        self._used = start + 8
        return f"{prefix}_{self._time}{self._chance[start : start + 8]}"
