"""Unpredictable masks for the frames that a client sends (RFC 6455, 5.3)."""

from __future__ import annotations

import os
import struct


class MaskSource:
    """Masks of 4 bytes, drawn from the system in blocks of 1024."""

    def __init__(self) -> None:
        self._masks: list[bytes] = []

    def take(self) -> bytes:
        if not self._masks:
            self._masks = [mask for (mask,) in struct.iter_unpack("4s", os.urandom(4096))]
        return self._masks.pop()
