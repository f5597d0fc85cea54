"""Ids made now: by the real clock, with real chance."""

from __future__ import annotations

import os
import time

from megabot_cli.protocol.ids import Prefix, make_id


def new_id(prefix: Prefix) -> str:
    """A new id such as `msg_1jg3k5v2w0a7f4hq2m`; later ones sort after earlier ones."""
    return make_id(prefix, time.time_ns() // 1_000_000, os.urandom(5))
