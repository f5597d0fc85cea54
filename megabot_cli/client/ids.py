"""Ids made now: by the real clock, with real chance."""

from __future__ import annotations

import os
import time
from base64 import b32encode
from typing import Final

from megabot_cli.protocol.ids import DIGITS, Prefix, base32, make_id

_AT_ONCE: Final = 256
_TO_OURS: Final = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", DIGITS.encode())


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

    def __call__(self, prefix: Prefix) -> str:
        now_ms = time.time_ns() // 1_000_000
        if now_ms != self._at_ms:
            self._at_ms, self._time = now_ms, base32(now_ms, 9)
        if self._used == len(self._chance):
            self._chance = b32encode(os.urandom(5 * _AT_ONCE)).translate(_TO_OURS).decode()
            self._used = 0
        start = self._used
        self._used = start + 8
        return f"{prefix}_{self._time}{self._chance[start : start + 8]}"
