"""One direction of a pair: frames that leave together, and the brake on whoever sends them."""

from __future__ import annotations

import asyncio

from megabot_cli.relay.outbox import HIGH_WATER_BYTES, RETRY_S
from megabot_cli.relay.turn import Turn


class Way:
    """One direction: frames that leave together, and the brake on whoever sends them."""

    def __init__(self, turn: Turn, into: asyncio.WriteTransport, out_of: asyncio.Transport) -> None:
        self._turn = turn
        self._into = into
        self._out_of = out_of
        self._frames: list[bytes] = []
        self.braked = False
        self.held = False  # by the rate limit: the brake stays on
        self._timer: asyncio.TimerHandle | None = None
        self._emptied = False  # what had braked has been taken
        self._unsent = 0  # when last asked

    @property
    def waiting_bytes(self) -> int:
        unsent = 0 if self._into.is_closing() else self._into.get_write_buffer_size()
        return unsent + sum(map(len, self._frames))

    def add(self, frames: list[bytes]) -> None:
        if not self._frames:
            self._turn.after(self.write)
        self._frames += frames

    def write(self) -> None:
        frames, self._frames = self._frames, []
        if not frames or self._into.is_closing():
            return
        self._into.write(frames[0] if len(frames) == 1 else b"".join(frames))
        if self._into.get_write_buffer_size() > HIGH_WATER_BYTES:
            self.brake()

    def has_moved(self) -> bool:
        """Whether, since this was last asked, the receiver took of what it had had no room for."""
        unsent = 0 if self._into.is_closing() else self._into.get_write_buffer_size()
        moved = self._emptied or unsent < self._unsent
        self._emptied, self._unsent = False, unsent
        return moved

    def brake(self) -> None:
        """Read no more from the one side until the other has taken what there is."""
        if not self.braked and not self._out_of.is_closing():
            self.braked = True
            self._out_of.pause_reading()
            self._timer = asyncio.get_running_loop().call_later(RETRY_S, self._try_again)

    def _try_again(self) -> None:
        full = not self._into.is_closing() and self._into.get_write_buffer_size() > 0
        if full or self.held:
            self._timer = asyncio.get_running_loop().call_later(RETRY_S, self._try_again)
            return
        self.braked, self._emptied = False, True
        if not self._out_of.is_closing():
            self._out_of.resume_reading()

    def release(self) -> None:
        """Read on, whatever waits; the brake may come on again."""
        if self.braked:
            self.stop()
            self.braked = False
            if not self._out_of.is_closing():
                self._out_of.resume_reading()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
