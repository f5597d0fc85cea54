"""What `tail` follows: a relay's tap, a connection of its own, or what comes on stdin."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megabot_cli.commands.tailing import Tail, history_of, same_as
from megabot_cli.errors import CouldNotConnect, MegabotError, NotAuthenticated, WrongUsage

if TYPE_CHECKING:
    import asyncio

    from megabot_cli.client.connection import ClientEvent, MegaBotClient
    from megabot_cli.commands.invocation import Invocation
    from megabot_cli.recording.record import Record
    from megabot_cli.storage.run_files import RunningRelay

LOOK_FOR_RELAY_S = 0.5
ANSWER_S = 10.0  # for a relay to open its tap; one that hangs takes the connection and says nothing
OVERLAP_S = 5.0  # history and tap can both have what passed while the tap was opened
_LONGEST_WISH = 3000  # characters in the address; servers take 4096 with all that is around them
_MOST_WAITING = 1000  # records read from stdin that wait to be shown


async def follow_one(tail: Tail) -> None:
    """Show what is live of one source, for ever, or as long as stdin has more."""
    match tail.source.kind:
        case "relay":
            await _follow_relays(tail)
        case "upstream":
            await follow_upstream(tail)
        case "stdin":
            await _follow_stdin(tail)


# The relay's tap


async def _follow_relays(tail: Tail) -> None:
    """Watch one relay after another. However often we look for the next, its absence is told
    once, and once what was missed."""
    import asyncio

    relay = tail.source.relay or await _next_relay(tail.invocation)
    away_since: float | None = None
    began = relay.started_at
    while True:
        is_new = relay.recording is not None and relay.started_at != began
        watched, why = await _follow_tap(tail, relay, away_since, has_all=is_new)
        if watched:
            began = relay.started_at
        if watched or away_since is None:
            away_since = time.monotonic()
            if not tail.show_event("close", by="relay", note=why):
                tail.console.note(f"{tail.source.name}: {why}; waiting for it")
        # One that stops, or was killed, is still written down for a moment.
        await asyncio.sleep(LOOK_FOR_RELAY_S)
        relay = await _next_relay(tail.invocation)
        tail.last_n = 0


async def _follow_tap(
    tail: Tail, relay: RunningRelay, away_since: float | None, *, has_all: bool
) -> tuple[bool, str]:
    """Show what a relay's tap shows until it ends; whether it could be opened, and why it ended.

    `has_all`: its recording began with it, and so has what passed before the tap was open.
    """
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
    watched, why = False, "the relay went away"
    limit = aiohttp.ClientTimeout(total=ANSWER_S)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=limit) as http,
            http.ws_connect(
                url, headers=headers, params=_wanted(tail), max_msg_size=0, heartbeat=25
            ) as socket,
        ):
            watched = True
            if away_since is not None and not has_all:
                missed = f"what passed in {time.monotonic() - away_since:.1f} s was not seen"
                if not tail.show_event("gap", note=missed):
                    tail.console.warn(f"gap: {missed}")
            watching = f"watching the relay's tap, {relay.tap_url}"
            if away_since is None or not tail.show_event("open", note=watching):
                tail.console.note(watching)
            if away_since is None and tail.wanted.sessions:
                await asyncio.to_thread(_tell_if_none_fits, tail, relay)
            fills = away_since is not None and has_all
            if (tail.last_n or fills) and relay.recording is not None:
                # What passed since its recording was read, before the tap was open.
                if fills:
                    settings = tail.invocation.configuration.settings.recording
                    await asyncio.sleep(2 * settings.flush_s)  # then it is on the disk
                for record, at, line in await asyncio.to_thread(
                    _since, tail, Path(relay.recording)
                ):
                    tail.show_past(record, at, line, hidden=tail.hides(record))
            overlap_until = time.monotonic() + OVERLAP_S
            async for message in socket:
                passed = _read(message.data)
                if passed is None:
                    tail.begin(_started_at(message.data))
                    continue
                if time.monotonic() < overlap_until and same_as(passed) in tail.shown:
                    continue
                tail.show(passed, time.time())
    except aiohttp.WSServerHandshakeError as fault:
        raise _refused(relay, fault.status) from None
    except aiohttp.ClientConnectorCertificateError as fault:
        said = getattr(fault.certificate_error, "verify_message", "it is another host's")
        why = f"its certificate is not trusted ({said})"
    except (aiohttp.ClientError, OSError) as fault:
        tail.console.detail(f"tap: {fault}")
        if isinstance(fault, TimeoutError):
            why = "the relay does not answer"
    return watched, why


def _refused(relay: RunningRelay, status: int) -> MegabotError:
    from megabot_cli.commands.relay_refusals import wants_token

    if status == 401:
        return NotAuthenticated(
            f"The relay at {relay.url} lets nobody in without its token", wants_token(relay)
        )
    again = "It may be stopping: try again in a moment."
    hint = again if status == 503 else "`megabot relay status` says how it is; its log says why."
    return CouldNotConnect(f"The relay at {relay.url} refused the tap: {status}", hint)


def _tell_if_none_fits(tail: Tail, relay: RunningRelay) -> None:
    """A session that is misspelt would be waited for in silence."""
    import msgspec

    from megabot_cli.commands.admin_request import ask_relay
    from megabot_cli.recording.record import Record
    from megabot_cli.recording.selection import Selection

    try:
        # In `dedicated` mode each client has one of its own.
        rows = ask_relay(relay, "sessions") or ask_relay(relay, "clients")
        there = [each["session"] for each in rows]
    except MegabotError:
        return
    fits = Selection(sessions=tail.wanted.sessions).matcher().matches
    a_record = Record(n=1, t=0, kind="message")
    if not any(fits(msgspec.structs.replace(a_record, session=each)) for each in there):
        named = " or ".join(tail.wanted.sessions)
        tail.console.note(f"the relay has no session {named} now; waiting for one")


def _wanted(tail: Tail) -> dict[str, str]:
    """What the relay need not send at all; where and how much is ours to say."""
    from urllib.parse import quote

    import msgspec

    if tail.wanted.around:
        return {}  # the neighbours are of any kind
    quick = tail.wanted.quick_part()
    asked = msgspec.structs.replace(quick, begin=None, until=None, limit=None)
    text = msgspec.json.encode(asked).decode()
    return {"wanted": text} if len(quote(text)) <= _LONGEST_WISH else {}


def _since(tail: Tail, source: Path) -> list[tuple[Record, float, bytes]]:
    from contextlib import ExitStack

    import msgspec

    from megabot_cli.recording.bounds import Place

    begin = Place("number", tail.last_n + 1)
    newer = Tail(tail.source, msgspec.structs.replace(tail.wanted, begin=begin), tail.screen)
    with ExitStack() as opened:
        return list(history_of(newer, source, opened))


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
        raise WrongUsage(
            "Without a relay, tail can be on one session only",
            "`megabot relay` shows all that are on it.",
        )
    if tail.wanted.direction == "to_upstream":
        raise WrongUsage(
            "Without a relay, only what goes to_client can be seen",
            "`megabot relay` shows both ways.",
        )
    session = next(iter(tail.wanted.sessions), None)
    import msgspec

    # Once found it may be lost while we look away: then all of the new one is shown.
    everything = Tail(tail.source, msgspec.structs.replace(tail.wanted, sessions=()), tail.screen)
    await _follow_upstream(everything, session)


async def _follow_upstream(tail: Tail, session: str | None) -> None:
    import asyncio

    from megabot_cli.commands.asked_session import require_session
    from megabot_cli.commands.running import first_of
    from megabot_cli.commands.upstream import open_client
    from megabot_cli.protocol.backoff import FullJitter

    events: asyncio.Queue[ClientEvent] = asyncio.Queue()
    async with open_client(
        tail.invocation,
        session=session,
        direct=True,
        reconnect=FullJitter(1.0, 30.0),
        on_event=events.put_nowait,
    ) as client:
        # Where it never was, the error says all: what befell the connection is not told then.
        await require_session(tail.invocation, client, session, direct=True)
        await first_of(_show_messages(tail, client, events), _show_events(tail, events))


async def _show_messages(
    tail: Tail, client: MegaBotClient, events: asyncio.Queue[ClientEvent]
) -> None:
    from megabot_cli.commands.arrived import record_of

    started_at = time.monotonic()
    async for received in client:
        if received.head is not None and received.head.type == "connection_established":
            while not events.empty():  # what opened stands before what was said through it
                _show_event(tail, events.get_nowait())
        offset_us = round((time.monotonic() - started_at) * 1e6)
        record = record_of(received, tail.seen_n + 1, offset_us, client.session_id)
        tail.show(record, received.at)


async def _show_events(tail: Tail, events: asyncio.Queue[ClientEvent]) -> None:
    while True:
        _show_event(tail, await events.get())


def _show_event(tail: Tail, event: ClientEvent) -> None:
    """As records where --events wants them, else as lines."""
    for kind, facts, line in _told(event):
        if tail.show_event(kind, session=event.session_id, **facts) or line is None:
            continue
        say = tail.console.warn if kind == "gap" else tail.console.note
        say(line)


def _told(event: ClientEvent) -> list[tuple[str, dict[str, Any], str | None]]:
    """An event in the words that a relay has for its links: kind, facts; and as a line."""
    session, why = event.session_id, event.detail
    match event.kind:
        case "open":
            return [("open", {"note": "fresh"}, f"connected, session {session}")]
        case "lost":
            facts = {"code": event.close_code, "reason": why, "by": "upstream"}
            return [("close", facts, f"connection lost ({why}); dialling again")]
        case "resumed":
            line = "connected again; the session was resumed"
            return [("open", {"note": "resumed"}, line)]
        case "new_session":
            gone = f"the session is gone, this is a new one ({session})"
            opened = ("open", {"note": "new_session"}, None)
            return [("gap", {"note": gone}, f"gap: {gone}"), opened]
        case "dropped":
            return [("gap", {"lost": event.missed, "note": why}, f"gap: {why}")]
        case _:
            return []


# What comes on stdin


async def _follow_stdin(tail: Tail) -> None:
    """Show what others write to us, records or bare messages, until they end."""
    import asyncio

    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[tuple[Record, bytes, float] | BaseException | None] = asyncio.Queue()
    room = threading.Semaphore(_MOST_WAITING)

    def read() -> None:
        ended: BaseException | None = None
        try:
            for record, line, at in _lines_of_stdin(tail):
                room.acquire()
                loop.call_soon_threadsafe(waiting.put_nowait, (record, line, at))
        except BaseException as fault:  # whoever waits has to hear of it
            ended = fault
        with suppress(RuntimeError):  # the loop is gone already
            loop.call_soon_threadsafe(waiting.put_nowait, ended)

    # A daemon: a read that nobody answers must keep no command from ending.
    threading.Thread(target=read, name="tail: stdin", daemon=True).start()
    while True:
        match await waiting.get():
            case None:
                return
            case BaseException() as fault:
                raise fault
            case (record, line, at):
                room.release()
                tail.show(record, at, line)


def _lines_of_stdin(tail: Tail) -> Iterator[tuple[Record, bytes, float]]:
    from megabot_cli.commands.recordings import open_source
    from megabot_cli.storage.choosing import started_at_s

    with open_source(tail.invocation, "-", at_once=True) as reader:
        started_at = started_at_s(reader) or time.time()
        for record, line in reader.lines():
            yield record, line, started_at + record.t / 1e6
