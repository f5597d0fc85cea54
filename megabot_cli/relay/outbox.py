"""What one client has still to receive, bounded.

`Outbox.offer` is a straight call: it puts a frame down and marks the outbox. `Turn` then
writes all frames that one turn of the event loop has for a client in one go. A client whose
socket is full keeps its frames here, up to the bounds, and hurts nobody else.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import Callable

import msgspec
import structlog

from megabot_cli.config.schema import OutboxSettings
from megabot_cli.protocol.frames import BINARY, TEXT, open_server_frame, server_frame
from megabot_cli.relay.merging import Item, merge
from megabot_cli.relay.transports import descriptor_of
from megabot_cli.relay.turn import Turn

log = structlog.get_logger("relay")

HIGH_WATER_BYTES = 64 * 1024  # above this the socket is full and frames stay with us
RETRY_S = 0.02
_NEVER = sys.maxsize  # above any number of a message
WORTH_A_GROUP = 4  # with fewer members each is handed its messages by itself


class Lost(msgspec.Struct, frozen=True):
    """What is thrown away: how many messages, and those of them that no ring keeps."""

    count: int = 0
    notices: tuple[bytes, ...] = ()


class Stalled(msgspec.Struct, frozen=True):
    """Why a client cannot stay, and what is thrown away."""

    reason: str
    lost: Lost


class Outbox:
    """The bounded queue of one client.

    Over half of its bounds, chunks that wait are merged and outdated states dropped. Calls
    `on_stalled` once when the bounds are passed all the same, or when nothing moved for
    `settings.stall_s`; after that it takes nothing more.

    `seq` numbers the messages of a session, and only grows.
    """

    # With a thousand clients each of these is far from the processor: few, and close together.
    __slots__ = (
        "_backlog", "_backlog_bytes", "_cut_short", "_descriptor", "_frames", "_group_had",
        "_group_tells_above", "_in_the_way", "_merge_from", "_merge_from_bytes", "_on_merged",
        "_on_stalled", "_retry", "_sent_seq", "_seqs", "_settings", "_stuck_at", "_stuck_since",
        "_taken", "_transport", "_turn", "closed", "group",
    )  # fmt: skip

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        settings: OutboxSettings,
        turn: Turn,
        on_stalled: Callable[[Stalled], None],
        on_merged: Callable[[int], None] | None = None,
    ) -> None:
        self._transport = transport
        self._descriptor = descriptor_of(transport)
        self._settings = settings
        self._turn = turn
        self._on_stalled = on_stalled
        self._on_merged = on_merged
        self._frames: list[bytes] = []  # of this turn
        self._seqs: list[int] = []
        self._backlog: deque[tuple[bytes, int]] = deque()
        self._backlog_bytes = 0
        self._merge_from = settings.messages // 2  # messages that wait, before merging pays
        self._merge_from_bytes = settings.bytes // 2
        self._sent_seq = 0
        self._group_tells_above = _NEVER
        self._taken = 0  # messages handed to this client alone before this turn
        self._retry: asyncio.TimerHandle | None = None
        self._stuck_since: float | None = None
        self._stuck_at = 0
        self.closed = False
        self._cut_short = False
        # Whether frames wait here, or none are taken: what a group has must not pass by.
        self._in_the_way = False
        self.group: Group | None = None  # whose frames come before those that are ours alone
        self._group_had = 0  # messages that the group had written when it was joined

    @property
    def sent_seq(self) -> int:
        """The last message that the socket has taken: from there on a client that comes back
        has missed something.

        Of what its group wrote to all at once no member keeps account: the group does.
        """
        group = self.group
        if group is not None and group.sent_seq > self._group_tells_above:
            return group.sent_seq
        return self._sent_seq

    @sent_seq.setter
    def sent_seq(self, seq: int) -> None:
        self._sent_seq = seq
        self._group_tells_above = self.group.sent_seq if self.group is not None else _NEVER

    def _stand_apart(self) -> None:
        """What the group says that it has written is not true of this one from here on, until
        all is written that waits."""
        self._sent_seq = self.sent_seq
        self._group_tells_above = _NEVER

    @property
    def behind(self) -> bool:
        """Whether something meant for this client has not been written, or never was."""
        return self._cut_short or bool(self._frames or self._backlog) or self._group_waits

    @property
    def waiting_bytes(self) -> int:
        """Bytes that have not reached the kernel yet."""
        if self._transport.is_closing():
            return self._backlog_bytes
        return self._backlog_bytes + self._transport.get_write_buffer_size()

    @property
    def waiting_messages(self) -> int:
        """Messages that the socket has no room for."""
        return len(self._backlog)

    @property
    def empty(self) -> bool:
        nothing = not self._frames and not self._backlog and not self._group_waits
        return nothing and self.waiting_bytes == 0

    @property
    def _group_waits(self) -> bool:
        return self.group is not None and self.group.waits

    @property
    def offered(self) -> int:
        """Messages handed to this client so far."""
        of_group = self.group.written - self._group_had if self.group is not None else 0
        return self._taken + of_group + len(self._frames)

    def enter(self, group: Group) -> None:
        self.group, self._group_had = group, group.written
        self._group_tells_above = group.sent_seq

    def quit_group(self) -> None:
        if self.group is not None:
            self._stand_apart()
            self._taken += self.group.written - self._group_had
            self.group = None

    def offer(self, frame: bytes, seq: int = 0) -> None:
        """Take a frame for this client; it leaves at the end of the turn if it can.

        `seq` 0: it is not one of the session's messages.
        """
        if self.open_way() is not None:
            self._frames.append(frame)
            self._seqs.append(seq)
        elif not self.closed:
            self._taken += 1
            self._keep(frame, seq)

    def open_way(self) -> tuple[list[bytes], list[int]] | None:
        """Where frames are put that leave at the end of the turn, and the seq of each; None if
        something stands in their way.

        Good until the caller hands anything to a group, or returns to the event loop.
        """
        group, frames = self.group, self._frames
        if group is not None and group.waits:
            group.spill()
        if not frames:  # if there are some, the rest has been asked for them
            if self.closed or self._backlog:
                return None
            self._turn.after(self.write)
            self._in_the_way = True
        return frames, self._seqs

    def write_now(self) -> None:
        """Write what can be written without waiting for the end of the turn."""
        if self.group is not None:
            self.group.spill()
        if self._frames:
            self.write()

    def write_joined(self, data: bytes, frames: list[bytes], seqs: list[int]) -> None:
        """Take what a group has for all its members, where it could not be written past the
        transport; `data` is its frames, joined."""
        transport = self._transport
        if (
            self._in_the_way
            or transport.is_closing()
            or transport.get_write_buffer_size() > HIGH_WATER_BYTES
        ):
            self._stand_apart()
            self._taken -= len(frames)  # they are counted as the group's
            if not self.closed:
                for frame, seq in zip(frames, seqs, strict=True):
                    self.offer(frame, seq)
        else:
            transport.write(data)

    def write(self) -> None:
        """Write the frames of this turn, or keep them when the socket is full."""
        frames, seqs, transport = self._frames, self._seqs, self._transport
        if not frames:
            self._in_the_way = self.closed or bool(self._backlog)
            return
        # The lists stay the same ones: who has the way open puts more into them.
        self._taken += len(frames)
        if self.closed or transport.is_closing():
            frames.clear()
            seqs.clear()
        elif not self._backlog and transport.get_write_buffer_size() <= HIGH_WATER_BYTES:
            data = frames[0] if len(frames) == 1 else b"".join(frames)
            last = seqs[-1] or max(self.sent_seq, *seqs)
            frames.clear()
            seqs.clear()
            self._in_the_way = False
            transport.write(data)
            self.sent_seq = last
        else:
            kept = list(zip(frames, seqs, strict=True))
            frames.clear()
            seqs.clear()
            for frame, seq in kept:
                self._keep(frame, seq)

    def _keep(self, frame: bytes, seq: int) -> None:
        if self.closed:
            return
        self._in_the_way = True
        self._backlog.append((frame, seq))
        self._backlog_bytes += len(frame)
        if len(self._backlog) > self._merge_from or self._backlog_bytes > self._merge_from_bytes:
            self._merge()
        over = (
            len(self._backlog) > self._settings.messages
            or self._backlog_bytes > self._settings.bytes
        )
        if over:
            self._stall("more waits for this client than may")
        elif self._retry is None:
            self._watch()

    def _merge(self) -> None:
        """Make the backlog shorter; the next try waits until half of the room left is used."""
        before = len(self._backlog)
        items = [_item(frame, seq) for frame, seq in self._backlog]
        merged = merge(items, self.sent_seq)
        if len(merged) < before:
            self._backlog = deque(
                (server_frame(item.data, BINARY if item.binary else TEXT), item.seq)
                for item in merged
            )
            self._backlog_bytes = sum(len(frame) for frame, _ in self._backlog)
            if self._on_merged is not None:
                self._on_merged(before - len(merged))
        self._merge_from = (len(self._backlog) + self._settings.messages) // 2
        self._merge_from_bytes = (self._backlog_bytes + self._settings.bytes) // 2

    def _watch(self) -> None:
        self._retry = asyncio.get_running_loop().call_later(RETRY_S, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        if self.closed or self._transport.is_closing():
            return
        self._drain_backlog()
        if self._backlog:
            self._note_progress()
        if self._backlog and not self.closed:
            self._watch()

    def _drain_backlog(self) -> None:
        while self._backlog and self._transport.get_write_buffer_size() <= HIGH_WATER_BYTES:
            frame, seq = self._backlog.popleft()
            self._backlog_bytes -= len(frame)
            self._transport.write(frame)
            self._sent_seq = seq or self._sent_seq
            self._stuck_since = None
        if not self._backlog:
            self.sent_seq = self._sent_seq
            self._in_the_way = bool(self._frames)
            self._merge_from = self._settings.messages // 2
            self._merge_from_bytes = self._settings.bytes // 2

    def _note_progress(self) -> None:
        now = asyncio.get_running_loop().time()
        unsent = self._transport.get_write_buffer_size()
        if self._stuck_since is None or unsent < self._stuck_at:
            self._stuck_since, self._stuck_at = now, unsent
        elif now - self._stuck_since > self._settings.stall_s:
            self._stall(f"nothing was read for {self._settings.stall_s:g} s")

    def _stall(self, reason: str) -> None:
        lost = self.close()
        self._on_stalled(Stalled(reason, lost))

    def close(self) -> Lost:
        """Take and write nothing more; returns what that throws away."""
        waiting = [*self._backlog, *zip(self._frames, self._seqs, strict=True)]
        notices = tuple(open_server_frame(frame)[0] for frame, seq in waiting if not seq)
        lost = Lost(len(waiting), notices)
        self._cut_short = self.behind
        self.closed = self._in_the_way = True
        self._taken += len(self._frames)
        self._frames.clear()
        self._seqs.clear()
        self._backlog.clear()
        self._backlog_bytes = 0
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        return lost


class Group:
    """Outboxes that get the same messages: joined once a turn, for all of them.

    Whoever gets a message of its own, comes, or goes in between has the group's put into
    every outbox first, so that the order is that of the offers.
    """

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._members: dict[Outbox, None] = {}
        self._frames: list[bytes] = []
        self._seqs: list[int] = []
        self.waits = False  # whether something is on its way to all
        self.written = 0  # messages so far, to each
        self.sent_seq = 0  # the last of them, but for who stands apart

    def join(self, outbox: Outbox) -> None:
        self.spill()
        self._members[outbox] = None
        outbox.enter(self)

    def leave(self, outbox: Outbox) -> None:
        self.spill()
        del self._members[outbox]
        outbox.quit_group()

    def offer(self, frame: bytes, seq: int) -> None:
        """As `Outbox.offer`, to every member."""
        if len(self._members) < WORTH_A_GROUP:
            for outbox in self._members:
                outbox.offer(frame, seq)
            return
        if not self.waits:
            self.waits = True
            self._turn.after(self._write)
        self._frames.append(frame)
        self._seqs.append(seq)

    def spill(self) -> None:
        """Put what waits for all into each outbox."""
        if not self._frames:
            return
        frames, seqs = self._take()
        for outbox in self._members:
            for frame, seq in zip(frames, seqs, strict=True):
                outbox.offer(frame, seq)

    def _take(self) -> tuple[list[bytes], list[int]]:
        frames, self._frames = self._frames, []
        seqs, self._seqs = self._seqs, []
        self.waits = False
        return frames, seqs

    def _write(self) -> None:
        frames, seqs = self._take()
        if not frames:
            return
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        self.written += len(frames)
        # With a thousand members all that is looked at is far from the processor, also what an
        # event loop does between `write` and the kernel: they are written to past it, and only
        # who has something in its way is called. For a few this would gain nothing, and whoever
        # waits for the interpreter's lock gets it here.
        size, write = len(data), os.write
        for outbox in self._members:
            transport, descriptor = outbox._transport, outbox._descriptor
            try:
                if (
                    outbox._in_the_way
                    or descriptor < 0
                    or transport.is_closing()
                    or transport.get_write_buffer_size()
                ):
                    outbox.write_joined(data, frames, seqs)
                    continue
                try:
                    sent = write(descriptor, data)
                except OSError:  # full, or broken: the transport knows what to do
                    sent = 0
                if sent < size:
                    transport.write(data[sent:])
            except Exception:  # one broken socket must not keep the others' messages back
                outbox._stand_apart()
                log.exception("socket.not_written")
        self.sent_seq = seqs[-1]


def _item(frame: bytes, seq: int) -> Item:
    data, first_byte = open_server_frame(frame)
    return Item(data, seq, first_byte != TEXT)
