"""A session's last messages in memory, for clients that come back."""

from __future__ import annotations

from collections import deque

import msgspec

from megabot_cli.config.schema import RelaySettings


class Kept(msgspec.Struct, frozen=True, gc=False):
    """One message to clients. `to` is the name of the one it is for; None: everybody."""

    seq: int
    at: float  # monotonic seconds
    data: bytes
    binary: bool
    to: str | None


# The same fields as they are kept: for nearly all of them nobody ever asks.
Numbered = tuple[int, float, bytes, bool, str | None]


class Recovery(msgspec.Struct, frozen=True):
    """What a client that comes back has missed; with a `reason` that is not, or not surely, all
    of it."""

    messages: tuple[Kept, ...] = ()
    reason: str | None = None
    others: tuple[Kept, ...] = ()  # what came meanwhile for somebody else alone

    @property
    def recovered(self) -> bool:
        return self.reason is None


class Ring:
    """The newest messages of one session, bounded in number, bytes and age.

    `epoch` names one unbroken run of `seq`, which counts from 1, and over all epochs: a number
    of one is never taken for another's. A cursor is `epoch:seq` of the last message a client
    has had. Plain state: times are handed in.
    """

    def __init__(self, epoch: str, *, messages: int, size_bytes: int, age_s: float) -> None:
        self.epoch = epoch
        self.top = 0
        self._most = messages
        self._most_bytes = size_bytes
        self._age_s = age_s
        self._kept: deque[Numbered] = deque()
        self._bytes = 0
        self._trim_at = 0.0  # monotonic seconds: before that nothing is too old

    def resize(self, settings: RelaySettings) -> None:
        """Other bounds hold from the next message on."""
        self._most = settings.ring_messages
        self._most_bytes = settings.ring_bytes
        self._age_s = settings.ring_age_s
        self._trim_at = 0.0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def kept_bytes(self) -> int:
        return self._bytes

    def add(self, data: bytes, now: float, binary: bool = False, to: str | None = None) -> int:
        """Number a message and keep it; returns its `seq`."""
        seq = self.top + 1
        self.extend([(seq, now, data, binary, to)])
        return seq

    def extend(self, messages: list[Numbered]) -> None:
        """Keep messages that came together, numbered already: from `top` + 1 on."""
        kept = self._kept
        kept.extend(messages)
        self.top, now = messages[-1][:2]
        size = self._bytes
        for message in messages:
            size += len(message[2])
        for _ in range(len(kept) - self._most):
            size -= len(kept.popleft()[2])
        self._bytes = size
        if size > self._most_bytes or now > self._trim_at:
            self._trim(now)

    def _trim(self, now: float) -> None:
        kept = self._kept
        while kept and (
            len(kept) > self._most
            or self._bytes > self._most_bytes
            or kept[0][1] < now - self._age_s
        ):
            self._bytes -= len(kept.popleft()[2])
        self._trim_at = (kept[0][1] if kept else now) + self._age_s

    def begin_epoch(self, epoch: str) -> None:
        """What was before cannot be joined to what follows: no cursor of before is good."""
        self.epoch = epoch
        self._kept.clear()
        self._bytes = 0

    def cursor(self, seq: int | None = None) -> str:
        return f"{self.epoch}:{self.top if seq is None else seq}"

    def texts(self) -> list[bytes]:
        """All messages kept that are text, oldest first, whomever they were for."""
        return [data for _, _, data, binary, _ in self._kept if not binary]

    def since(self, cursor: str, name: str, now: float) -> Recovery:
        """All that `name` has missed after `cursor`, in order; a reason when some is gone.

        The cursor of the newest message always succeeds, with nothing.
        """
        epoch, _, number = cursor.rpartition(":")
        if not number.isascii() or not number.isdigit() or len(number) > 18:
            return Recovery(reason="not_a_cursor")
        if epoch != self.epoch:
            return Recovery(reason="other_epoch")
        seq = int(number)
        if seq > self.top:
            return Recovery(reason="ahead")
        self._trim(now)
        oldest = self._kept[0][0] if self._kept else self.top + 1
        if seq < oldest - 1:
            return Recovery(reason="too_old")
        missed = [Kept(*each) for each in self._kept if each[0] > seq]
        others = tuple(kept for kept in missed if kept.to not in (None, name))
        return Recovery(tuple(kept for kept in missed if kept.to in (None, name)), others=others)
