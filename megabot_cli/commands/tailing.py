"""Where `tail` gets its records: the relay's tap, its recording, or a connection of its own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megabot_cli.errors import CouldNotConnect, WrongUsage
from megabot_cli.terminal.console import ReaderGone, reader_is_gone

if TYPE_CHECKING:
    from megabot_cli.client.connection import ClientEvent, Received
    from megabot_cli.commands.invocation import Invocation
    from megabot_cli.recording.record import Record
    from megabot_cli.recording.selection import Selection
    from megabot_cli.storage.run_files import RunningRelay
    from megabot_cli.terminal.record_printer import RecordPrinter

LOOK_FOR_READER_S = 0.25
LOOK_FOR_RELAY_S = 0.5
MOST_OVERLAP = 10_000
OVERLAP_S = 5.0  # history and tap can both have what passed while the tap was opened

_Key = tuple[str | None, ...]


@dataclass
class Tail:
    """What is wanted, where it is shown, and what the history has shown already."""

    invocation: Invocation
    wanted: Selection
    printer: RecordPrinter
    shown: deque[_Key] = field(default_factory=lambda: deque(maxlen=MOST_OVERLAP))

    def __post_init__(self) -> None:
        self.chooser = self.wanted.chooser()

    def begin(self, started_at_s: float) -> None:
        """From now on records come whose `t` counts from then; what was before is passed."""
        self._narrow(begin=None, shown=self.chooser.chosen)
        self.chooser = self.wanted.chooser(started_at_s)

    def show(self, record: Record, at: float) -> None:
        """Show it if it is wanted. AllShown once nothing more is."""
        for each, _ in self.chooser.offer(record):
            self.printer.show(each, at + (each.t - record.t) / 1e6)
        if self.chooser.finished:
            raise AllShown

    def show_history(self, last: Iterable[tuple[Record, float]]) -> None:
        """Show what was chosen from a recording."""
        count = 0
        for record, at in last:
            self.printer.show(record, at)
            self.shown.append(_key(record))
            count += 1
        self.printer.end()
        self._narrow(shown=count)

    def _narrow(self, shown: int, **changes: Any) -> None:
        """Want so many fewer from now on. AllShown when that leaves none."""
        import msgspec

        if self.wanted.limit is not None and shown:
            if shown >= self.wanted.limit:
                raise AllShown
            changes["limit"] = self.wanted.limit - shown
        self.wanted = msgspec.structs.replace(self.wanted, **changes)


class AllShown(Exception):
    """As many were shown as were wanted, or the time is over."""


async def until_reader_leaves(work: Coroutine[Any, Any, None], printer: RecordPrinter) -> None:
    """Do `work`, but stop when nobody reads stdout: an idle tail would else stay for ever."""
    from megabot_cli.commands.running import first_of

    try:
        await first_of(work, _reader_left())
    except AllShown:
        pass
    finally:
        printer.end()


async def _reader_left() -> None:
    import asyncio

    # Only a look tells: an event loop cannot wait for the far end of a pipe to close.
    while not reader_is_gone():  # noqa: ASYNC110
        await asyncio.sleep(LOOK_FOR_READER_S)
    raise ReaderGone


# The recording


def show_history(tail: Tail, relay: RunningRelay | None, count: int | None) -> None:
    """Show the last `count` records wanted of the relay's recording, or of the newest one.

    With None all that are wanted, from `--from` on.
    """
    with suppress(AllShown):
        tail.show_history(_history(tail, _source(tail, relay), count))


def _source(tail: Tail, relay: RunningRelay | None) -> Path:
    from megabot_cli.storage.recordings_list import find_recording

    if relay is not None and relay.recording is not None:
        return Path(relay.recording)
    source = find_recording(tail.invocation.recordings_folder, "last")
    tail.invocation.console.note(f"no relay records now; this is {source.name}")
    return source


def _history(tail: Tail, source: Path, count: int | None) -> Iterator[tuple[Record, float]]:
    from megabot_cli.storage.choosing import choose, started_at_s
    from megabot_cli.storage.segment_reader import open_recording

    with open_recording(source) as reader:
        started_at = started_at_s(reader)
        chosen: Iterable[tuple[Record, bytes]] = choose(reader, tail.wanted)
        if count is not None:
            chosen = deque(chosen, maxlen=count)
        for record, _ in chosen:
            yield record, started_at + record.t / 1e6


def _key(record: Record) -> _Key:
    """What makes a record the same in the recording and in the tap, which number their own."""
    return (record.kind, record.direction, record.client, record.link, record.id, record.data)


# The relay's tap


async def follow_relay(tail: Tail, relay: RunningRelay, history: int | None) -> None:
    """Show what passes the relay; wait for it when it goes away."""
    await until_reader_leaves(_follow_relays(tail, relay, history), tail.printer)


async def _follow_relays(tail: Tail, relay: RunningRelay, history: int | None) -> None:
    while True:
        await _follow_tap(tail, relay, history)
        left_at = time.monotonic()
        tail.invocation.console.note("the relay went away; waiting for it")
        relay = await _next_relay(tail.invocation)
        away_s = time.monotonic() - left_at
        tail.invocation.console.warn(f"gap: what passed in {away_s:.1f} s was not seen")
        history = 0


async def _follow_tap(tail: Tail, relay: RunningRelay, history: int | None) -> None:
    import asyncio

    import aiohttp

    from megabot_cli.client.dial import connector_for
    from megabot_cli.client.endpoint import parse_endpoint
    from megabot_cli.commands.upstream import client_token, relay_tls

    token = client_token(Path(relay.token_file))
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    endpoint = parse_endpoint(relay.tap_url)
    url = relay.tap_url if endpoint.unix_path is None else "ws://localhost/relay/tap"
    connector = connector_for(endpoint, relay_tls(relay))
    try:
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.ws_connect(url, headers=headers, max_msg_size=0, heartbeat=25) as socket,
        ):
            tail.invocation.console.note(f"watching the relay's tap, {relay.tap_url}")
            if history != 0 and relay.recording is not None:
                source = Path(relay.recording)
                found = await asyncio.to_thread(lambda: list(_history(tail, source, history)))
                tail.show_history(found)
            overlap_until = time.monotonic() + OVERLAP_S
            async for message in socket:
                record = _read(message.data)
                if record is None:
                    tail.begin(_started_at(message.data))
                    continue
                if time.monotonic() < overlap_until and _key(record) in tail.shown:
                    continue
                tail.show(record, time.time())
    except aiohttp.WSServerHandshakeError as fault:
        raise CouldNotConnect(f"The relay refused the tap: {fault.status}") from None
    except (aiohttp.ClientError, OSError) as fault:
        tail.invocation.console.detail(f"tap: {fault}")


def _read(line: Any) -> Record | None:
    """A record of the tap; None for its header."""
    from megabot_cli.recording.format_v1 import BadLine, decode_line
    from megabot_cli.recording.record import Record

    try:
        found = decode_line(line.encode() if isinstance(line, str) else line)
    except BadLine:
        return None
    return found if isinstance(found, Record) else None


def _started_at(line: Any) -> float:
    """When the tap's records began to count; 0 for what is no header."""
    from megabot_cli.commands.recordings import unix_time
    from megabot_cli.errors import BadData
    from megabot_cli.recording.format_v1 import decode_header

    try:
        header = decode_header(line.encode() if isinstance(line, str) else line)
    except BadData:
        return 0.0
    return unix_time(header.started_at)


async def _next_relay(invocation: Invocation) -> RunningRelay:
    import asyncio

    while (relay := invocation.running_relay()) is None:  # noqa: ASYNC110  a file appears
        await asyncio.sleep(LOOK_FOR_RELAY_S)
    return relay


# A connection of our own


async def follow_upstream(tail: Tail) -> None:
    """Show what the upstream sends to us; dial again for ever."""
    if len(tail.wanted.sessions) > 1:
        raise WrongUsage("Without a relay, tail can be on one session only")
    if tail.wanted.direction == "to_upstream":
        raise WrongUsage("Without a relay, only what goes to_client can be seen")
    session = next(iter(tail.wanted.sessions), None)
    import msgspec

    # The session asked for may be gone: then all of the new one is shown.
    everything = Tail(
        tail.invocation, msgspec.structs.replace(tail.wanted, sessions=()), tail.printer
    )
    await until_reader_leaves(_follow_upstream(everything, session), tail.printer)


async def _follow_upstream(tail: Tail, session: str | None) -> None:
    from megabot_cli.commands.upstream import open_client
    from megabot_cli.protocol.backoff import FullJitter

    started_at = time.monotonic()
    number = 0
    async with open_client(
        tail.invocation,
        session=session,
        direct=True,
        reconnect=FullJitter(1.0, 30.0),
        on_event=_teller(tail.invocation),
    ) as client:
        async for received in client:
            number += 1
            offset_us = round((time.monotonic() - started_at) * 1e6)
            record = _record_of(received, number, offset_us, client.session_id)
            tail.show(record, received.at)


def _teller(invocation: Invocation) -> Callable[[ClientEvent], None]:
    console = invocation.console

    def tell(event: ClientEvent) -> None:
        if event.kind == "lost":
            console.note(f"connection lost ({event.detail}); dialling again")
        elif event.kind == "resumed":
            console.note("connected again; the session was resumed")
        elif event.kind == "new_session":
            console.warn(f"gap: the session is gone, this is a new one ({event.session_id})")
        elif event.kind == "dropped":
            console.warn(f"gap: {event.detail}")
        elif event.kind == "open":
            console.note(f"connected, session {event.session_id}")

    return tell


def _record_of(received: Received, number: int, offset_us: int, session_id: str | None) -> Record:
    from base64 import b64encode

    from megabot_cli.protocol.envelope import wire_size
    from megabot_cli.recording.record import Record

    head, text = received.head, received.text
    is_text = isinstance(text, str)
    return Record(
        n=number,
        t=offset_us,
        kind="message",
        direction="to_client",
        session=(head.session_id if head else None) or session_id,
        user=head.user_id if head else None,
        id=head.id if head else None,
        type=head.type if head else None,
        reply_to=head.reply_to if head else None,
        opcode=None if is_text else "binary",
        size=wire_size(text),
        data=text if isinstance(text, str) else None,
        data_b64=None if isinstance(text, str) else b64encode(text).decode(),
    )
