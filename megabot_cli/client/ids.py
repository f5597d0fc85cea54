"""Ids made now: by the real clock, with real chance."""

from __future__ import annotations

import os
import time
from typing import Final

from megabot_cli.protocol.ids import DIGITS, Prefix, base32, make_id

_DIGIT_OF: Final = DIGITS.encode() * 8  # of a byte that chance chose: each is as likely


def new_id(prefix: Prefix) -> str:
    """A new id such as `msg_1jg3k5v2w0a7f4hq2m`; later ones sort after earlier ones."""
    return make_id(prefix, time.time_ns() // 1_000_000, os.urandom(5))


def new_ids(prefix: Prefix, count: int) -> list[str]:
    """As so many calls of `new_id`, all of this moment, in a tenth of their time."""
    head = f"{prefix}_{base32(time.time_ns() // 1_000_000, 9)}"
    chance = os.urandom(8 * count).translate(_DIGIT_OF).decode()
    return [f"{head}{chance[start : start + 8]}" for start in range(0, 8 * count, 8)]
