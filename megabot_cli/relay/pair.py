"""One client and one upstream connection of its own, joined transparently.

Messages of any kind, pings, close codes and reasons pass as they came. Where one side does
not read, the other is not read from either: nothing piles up, and nobody else is concerned.
"""

from __future__ import annotations

import asyncio
import sys
import time

import aiohttp
import msgspec
import structlog
from aiohttp import WSMsgType

from megabot_cli.client.dial import hang_up
from megabot_cli.client.ids import new_id
from megabot_cli.client.wire import (
    HeardSocket,
    Sink,
    Socket,
    client_frames,
    deliver_to,
    give_no_code,
    upstream_transport,
)
from megabot_cli.protocol.close_codes import NO_CODE, CloseCode, reason_bytes, sendable
from megabot_cli.protocol.frames import BINARY, TEXT, server_frame
from megabot_cli.relay.local_client import CLOSE_S
from megabot_cli.relay.paced_way import PacedWay
from megabot_cli.relay.pair_looking import PairLooking
from megabot_cli.relay.pair_pings import Pings
from megabot_cli.relay.parts import RelayParts
from megabot_cli.relay.reading import LOST, tell_broken
from megabot_cli.relay.transports import unseen
from megabot_cli.relay.way import Way
from megabot_cli.wording import counted

log = structlog.get_logger("relay")


class End(msgspec.Struct, frozen=True):
    """How one side ended the conversation."""

    code: int
    reason: str
    by: str  # "client", "upstream" or "relay"


class Pair:
    """A client's socket and the upstream's. `run` is its whole life."""

    def __init__(
        self,
        parts: RelayParts,
        client: HeardSocket,
        client_transport: asyncio.Transport,
        upstream: aiohttp.ClientWebSocketResponse[bool],
        *,
        gzip: bool = False,
    ) -> None:
        self.client_id = new_id("client")
        self.link_id = new_id("link")
        self.since = time.monotonic()
        self.sent = self.received = 0  # messages of the client, of the upstream
        self._parts = parts
        self._numbers = parts.numbers
        self._witness = parts.witness
        self._client = client
        self._upstream = upstream
        self._client_transport = client_transport
        transport = upstream_transport(upstream)
        assert transport is not None, "it has just been dialled"
        self._upstream_transport = transport
        self._keeps_masks = unseen(transport)
        self._up = Way(parts.turn, self._upstream_transport, client_transport)
        self._down = Way(parts.turn, client_transport, self._upstream_transport)
        self._most_bytes = parts.limits.max_message_bytes or sys.maxsize
        self._checked = parts.settings.validation != "off"
        # Whether it is known what is open: who looks for a while sees questions without answers.
        self._sees_all = self._checked or parts.witness.keeps
        self._looking = PairLooking(parts, self.client_id, self.link_id, self._say, gzip=gzip)
        self._paced = PacedWay(parts, self._up, self._looking.text_up)
        self._limited = self._paced.limited
        self._look_up = self._looking.look_up
        self._unfolds = gzip
        self._told_to_end: asyncio.Future[End] = parts.loop.create_future()
        self._client_left = False
        self._closing: str | None = None  # why the relay ends it
        self._over = asyncio.Event()
        self._pings = Pings(parts, self._up, self._down)
        self._log = log.bind(client=self.client_id, link=self.link_id, **parts.whose)
        if parts.stopping:
            self.take_no_more()

    @property
    def session_id(self) -> str | None:
        """As the upstream's greeting says, if it is one."""
        return self._looking.session_id

    @property
    def greeting(self) -> bytes | None:
        """Of a flat upstream, where somebody has looked at it."""
        return self._looking.greeting

    @property
    def waiting_bytes(self) -> int:
        return self._up.waiting_bytes + self._down.waiting_bytes

    @property
    def waiting(self) -> int:
        """Messages that the rate limit holds back."""
        return len(self._paced)

    @property
    def requests(self) -> int:
        return len(self._looking.routing) if self._sees_all else 0

    @property
    def connected_s(self) -> float:
        return time.monotonic() - self.since

    @property
    def idle(self) -> bool:
        """Nothing waits to be written, and no request to be answered as far as we look."""
        return not len(self._paced) and not self.requests and not self.waiting_bytes

    # -- its life --------------------------------------------------------------------------

    async def run(self) -> End:
        """Join the two until one ends, then end the other in the same way."""
        self._witness.fact("open", client=self.client_id, link=self.link_id)
        self._log.info("client.opened", mode="dedicated")
        self._watch_client()
        self._watch_upstream()
        create_task = self._parts.loop.create_task
        up = create_task(self._read(self._client, self.take_up, "client"), name="pair up")
        down = create_task(self._read(self._upstream, self.take_down, "upstream"), name="pair down")
        try:
            await asyncio.wait((up, down, self._told_to_end), return_when=asyncio.FIRST_COMPLETED)
            first = next(each for each in (up, down, self._told_to_end) if each.done())
            end = first.result()
            if end.by == "client" and len(self._paced):
                await self._send_the_rest(end, down)
        finally:
            for reading in (up, down):
                reading.cancel()
            await asyncio.wait((up, down))
            self._stop()
        try:
            await self._end(end)
        finally:
            self._over.set()
        return end

    def take_no_more(self) -> None:
        """The relay stops: what the client asks from now on is refused by id. So it is read also
        where the brake is on, and looked at in any case; a frame may be of more than goes on."""
        self._looking.take_no_more()
        self._look_up = self._looking.look_up_last
        self._checked, self._keeps_masks = True, False
        self._up.release()

    async def close(self, code: CloseCode, reason: str) -> None:
        """End both sides, and return when that is done. The client hears by id what is open, as far
        as somebody has seen that."""
        stops = code == CloseCode.SERVICE_RESTART
        self._closing = "the relay stopped" if stops else "the connection was closed"
        self._tell_to_end(End(int(code), reason, "relay"))
        await self._over.wait()

    async def _send_the_rest(self, end: End, down: asyncio.Task[End]) -> None:
        """What a client had sent before it left goes on at the limit's pace, and its close after
        that; for as long as messages wait elsewhere, and while the upstream is there."""
        self._client_left = True
        self._pings.stop()
        self._watch_upstream()
        if end.code != LOST:  # who says goodbye does not wait for that
            await self._say_goodbye(end)
        sent = self._parts.loop.create_task(self._paced.until_nothing_waits(), name="pair rest")
        try:
            await asyncio.wait(
                (sent, down, self._told_to_end),
                timeout=self._parts.settings.wait_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            sent.cancel()
            await asyncio.wait((sent,))

    def _give_up_the_rest(self) -> None:
        left = self._paced.stop()
        if self._closing is not None and self._sees_all and not self._client_left:
            self._looking.give_up_open(left, self._closing)
        if not left:
            return
        if not self._client_left:
            self._looking.cut_short(left)
        self._numbers.drops["rate_limit"] += len(left)
        self._log.warning("client.cut_short", messages=len(left))
        note = f"{counted(len(left), 'message')} waited for the rate limit at the end"
        self._witness.fact(
            "drop", client=self.client_id, link=self.link_id, session=self.session_id, note=note
        )

    def _watch_client(self) -> None:
        self._pings.watch_client(self._client, self._client_transport, self._client_fell_silent)

    def _watch_upstream(self) -> None:
        transport = self._upstream_transport
        self._pings.watch_upstream(self._upstream, transport, self._upstream_fell_silent)

    def _client_fell_silent(self) -> None:
        self._tell_to_end(End(int(CloseCode.NO_PONG), "no pong", "relay"))

    def _upstream_fell_silent(self) -> None:
        self._log.warning("link.silent")
        self._tell_to_end(End(LOST, "", "upstream"))

    def _tell_to_end(self, end: End) -> None:
        if not self._told_to_end.done():
            self._told_to_end.set_result(end)

    # -- its end ---------------------------------------------------------------------------

    def _stop(self) -> None:
        self._pings.stop()
        self._give_up_the_rest()
        self._up.stop()
        self._down.stop()

    async def _end(self, end: End) -> None:
        self._witness.fact(
            "close",
            client=self.client_id,
            link=self.link_id,
            session=self.session_id,
            code=end.code,
            reason=end.reason or None,
            by=end.by,
        )
        self._log.info("client.closed", code=end.code, by=end.by)
        self._up.write()
        self._down.write()
        if end.code == LOST:
            # A cut line is told by cutting: 1006 may not be sent.
            self._client_transport.abort()
            self._upstream_transport.abort()
            await hang_up(self._upstream)  # it has no line left; aiohttp lets go of it
            return
        if end.code == NO_CODE:
            give_no_code(self._upstream)
        await asyncio.gather(hang_up(self._upstream, end.code, end.reason), self._say_goodbye(end))

    async def _say_goodbye(self, end: End) -> None:
        code, reason = sendable(end.code), end.reason
        if end.code == NO_CODE:
            give_no_code(self._client)
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._client.close(code=code, message=reason_bytes(reason))
                await self._client.part()
        except (TimeoutError, ConnectionError):
            self._log.debug("client.cut", code=code)
        finally:
            self._client_transport.abort()

    async def _read(self, socket: Socket, take: Sink, by: str) -> End:
        """Messages come straight from the parser; what comes here is all the rest."""
        other = self._upstream if socket is self._client else self._client
        recorder = self._witness.recorder
        turn = self._parts.turn

        def take_straight(batch: list[bytes], binary: bool, whole: bytes | None = None, /) -> None:
            take(batch, binary, whole)
            if turn.quiet:
                turn.write_early()
            if recorder is not None and recorder.must_wait:
                deliver_to(socket, None)

        try:
            while True:
                deliver_to(socket, take_straight)
                message = await socket.receive()
                match message.type:
                    case WSMsgType.TEXT:
                        take([message.data], False)
                    case WSMsgType.BINARY:
                        take([message.data], True)
                    case WSMsgType.PING if self._client_left:
                        await socket.pong(message.data)
                    case WSMsgType.PING:
                        await other.ping(message.data)
                    case WSMsgType.PONG if self._client_left or message.data == self._pings.data:
                        pass  # it answers our ping, or a ping of somebody who has left
                    case WSMsgType.PONG:
                        await other.pong(message.data)
                    case WSMsgType.CLOSE:
                        return End(int(message.data) or NO_CODE, message.extra or "", by)
                    case WSMsgType.ERROR:
                        tell_broken(self._log, message.data, by=by)
                        code = int(getattr(message.data, "code", LOST))
                        return End(code, str(message.data) if code != LOST else "", by)
                    case _:
                        return End(LOST, "", by)
                if self._witness.must_wait:
                    await self._witness.caught_up()
        except aiohttp.WebSocketError as fault:
            return End(int(fault.code), str(fault), by)
        except ConnectionError:
            return End(LOST, "", "upstream" if by == "client" else "client")
        finally:
            deliver_to(socket, None)

    # -- messages --------------------------------------------------------------------------

    def take_up(self, batch: list[bytes], binary: bool, whole: bytes | None = None) -> None:
        """Messages of the client's: upstream with them, within the limits."""
        numbers, count = self._numbers, len(batch)
        self.sent += count
        numbers.messages_to_upstream += count
        size = sum(map(len, batch))
        numbers.bytes_to_upstream += size
        looks = self._checked or self._witness.watching or (binary and self._unfolds)
        if looks or size > self._most_bytes:
            batch = self._look_up(batch, binary)
        first_byte = BINARY if binary else TEXT
        if self._limited:
            for data in batch:
                self._paced.add(data, first_byte)
        elif whole is not None and self._keeps_masks and len(batch) == count:
            self._up.add([whole])
        elif batch:
            frames = [(data, first_byte) for data in batch]
            self._up.add([client_frames(frames, self._parts.masks)])

    def _say(self, frame: bytes) -> None:
        self._down.add([frame])

    def take_down(self, batch: list[bytes], binary: bool, whole: bytes | None = None) -> None:
        """Messages of the upstream's: to the client with them."""
        numbers = self._numbers
        self.received += len(batch)
        numbers.messages_to_client += len(batch)
        numbers.bytes_to_client += sum(map(len, batch))
        numbers.deliveries += len(batch)
        if self._checked or self._witness.watching or (binary and self._unfolds):
            self._looking.look_down(batch, binary)
        if whole is not None:
            self._down.add([whole])
            return
        first_byte = BINARY if binary else TEXT
        self._down.add([server_frame(data, first_byte) for data in batch])
