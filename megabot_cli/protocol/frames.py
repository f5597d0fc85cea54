"""WebSocket frames (RFC 6455, 5.2): how long one is, what it carries, and whether it has a mask."""

from __future__ import annotations

import struct
from typing import Final

TEXT: Final = 0x81  # FIN and opcode 1
BINARY: Final = 0x82

MASKED: Final = 0x80  # in a head's second byte
MIDDLE: Final = 126  # says that the length stands in the next two bytes
LONG: Final = 127  # in the next eight
LONGEST: Final = 0xFFFF

SERVER_PING: Final = b"\x89\x00"

_FIN: Final = 0x80
_OPCODE: Final = 0x0F
_CONTROL: Final = 0x08  # opcodes from here on: close, ping, pong

# The head of a frame by the length of its message.
_short = struct.Struct(">BB").pack
_middle = struct.Struct(">BBH").pack
_long = struct.Struct(">BBQ").pack


def server_frame(data: bytes, first_byte: int = TEXT) -> bytes:
    """One whole unmasked message, as a server sends it."""
    size = len(data)
    if size < MIDDLE:
        return _short(first_byte, size) + data
    if size <= LONGEST:
        return _middle(first_byte, MIDDLE, size) + data
    return _long(first_byte, LONG, size) + data


def open_server_frame(frame: bytes) -> tuple[bytes, int]:
    """The message in a frame that `server_frame` built, and its first byte."""
    head = {MIDDLE: 4, LONG: 10}.get(frame[1], 2)
    return frame[head:], frame[0]


def client_ping(mask: bytes) -> bytes:
    """An empty ping as a client sends it."""
    return b"\x89\x80" + mask


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


class WrongMask(ValueError):
    """A frame is masked that must not be, or the other way round."""


class FrameWalk:
    """Follows the frames of one connection by their heads, however they are cut, to know where
    one begins that is simple: a whole text with nothing before it that it belongs to."""

    # Whether frames must be masked, as a client's, or must not, as a server's (RFC 6455, 5.1).
    # None: either.
    peer_masks: bool | None = None

    begun = b""  # of a frame, too little to do anything with
    owed = 0  # bytes still to come of a frame of which the beginning was given away
    fragmented = False  # a message has begun that ends in another frame

    def upto(self, data: bytes, at: int, *, reads: bool, most_held: int) -> int:
        """Where what is not simple ends in `data`, from `at` on.

        With `reads` a simple frame is left to the caller, also one that is whole only with what
        comes next, if it has `most_held` bytes at most: that, and what is only the beginning of
        a head, is kept in `begun`. WrongMask where a frame is of the other side's kind.
        """
        end = len(data)
        if self.owed:
            given = min(self.owed, end - at)
            self.owed -= given
            return at + given
        start = at
        while at < end:
            after = frame_end(data, at)
            if after:
                self._check_mask(data[at + 1] >= MASKED)
            simple = reads and data[at] == TEXT and not self.fragmented
            if not after or (simple and end < after <= at + most_held):
                self.begun = data[at:]
                break
            if simple and at > start and after <= end:
                break
            if data[at] & _OPCODE < _CONTROL:
                self.fragmented = data[at] < _FIN
            if after > end:
                self.owed = after - end
                return end
            at = after
        return at

    def _check_mask(self, is_masked: bool) -> None:
        if self.peer_masks not in (None, is_masked):
            raise WrongMask("masked frame" if is_masked else "frame without a mask")
