"""The heads of WebSocket frames (RFC 6455, 5.2): where one ends, and whether it has a mask."""

from __future__ import annotations

from typing import Final

MASKED: Final = 0x80  # in a head's second byte
MIDDLE: Final = 126  # says that the length stands in the next two bytes


def frame_end(data: bytes, at: int) -> int:
    """Where the frame that begins at `at` ends; 0 while its head does not say it."""
    if len(data) - at < 2:
        return 0
    size, head = data[at + 1], 2
    if size >= MASKED:
        size, head = size - MASKED, 6
    if size >= MIDDLE:
        more = 2 if size == MIDDLE else 8
        if len(data) - at < 2 + more:
            return 0
        size = int.from_bytes(data[at + 2 : at + 2 + more], "big")
        head += more
    return at + head + size


class MaskWatch:
    """Follows the frames of one connection, however they are cut, for one without a mask."""

    def __init__(self) -> None:
        self._begun = b""  # of a head
        self._owed = 0  # bytes still to come of a frame

    def take(self, data: bytes) -> int | None:
        """How much of what came next belongs to frames with a mask; None: all of it.

        After a number there is nothing to follow any more.
        """
        before = len(self._begun)
        if before:
            data, self._begun = self._begun + data, b""
        at, end = self._owed, len(data)
        while at < end:
            if end - at >= 2 and data[at + 1] < MASKED:
                return max(0, at - before)
            after = frame_end(data, at)
            if not after:
                self._begun = data[at:]
                at = end
                break
            at = after
        self._owed = at - end
        return None
