"""One program connected to the relay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec
import structlog
from aiohttp import web

from megabot_cli.client.ids import new_id
from megabot_cli.client.tasks import TaskSet
from megabot_cli.protocol.close_codes import CloseCode, reason_bytes
from megabot_cli.protocol.frames import SERVER_PING, server_frame
from megabot_cli.relay.heartbeat import Heard
from megabot_cli.relay.outbox import RETRY_S, Outbox, Stalled
from megabot_cli.relay.parts import RelayParts
from megabot_cli.relay.untold import MOST_FOR_EACH

log = structlog.get_logger("relay")

CLOSE_S = 2.0  # for the peer to answer our close; then the connection is cut

# After these nobody comes back for what was not delivered: it is lost.
_FOR_GOOD = frozenset({CloseCode.SERVICE_RESTART, CloseCode.SESSION_ENDED})


class Wishes(msgspec.Struct, frozen=True):
    """What a client asks for when it connects, beside the specification's parameters."""

    client_id: str | None = None  # a name it keeps when it comes back
    cursor: str | None = None  # the last message it has had: `epoch:seq`
    executor: bool = False  # it carries out tool calls
    corner: bool = False  # it reads `metadata.megabot`


NO_WISHES = Wishes()


class Listening:
    """Whether a client has given a sign of life, as `heartbeat` asks: it sent something, or there
    is more for it than its socket takes. A ping would have to wait behind that; how long it may
    stand still the outbox says."""

    def __init__(self, socket: Heard, outbox: Outbox) -> None:
        self._socket = socket
        self._outbox = outbox

    @property
    def heard(self) -> bool:
        return self._socket.heard or self._outbox.waiting_messages > 0

    @heard.setter
    def heard(self, heard: bool) -> None:
        self._socket.heard = heard


class LocalClient:
    """A client's socket and its outbox."""

    def __init__(
        self,
        parts: RelayParts,
        socket: web.WebSocketResponse[bool],
        transport: asyncio.Transport,
        tasks: TaskSet,
        wishes: Wishes = NO_WISHES,
    ) -> None:
        self.id = new_id("client")
        self.wishes = wishes
        self.name = wishes.client_id or self.id  # by which it is known when it comes back
        self.outbox = Outbox(
            transport, parts.settings.outbox, parts.turn, self._stalled, self._merged
        )
        self._stall_s = parts.settings.outbox.stall_s
        self._numbers = parts.numbers
        self.greeted = False
        self.greeted_seq = 0  # of the last message it had had then
        self.goes_by_cursor = False  # nothing else tells who it is when it comes back
        self.since = time.monotonic()
        self.sent = 0  # messages it has sent
        self.session_cursor: Callable[[int], str] | None = None
        self.close_sent: int | None = None
        self.close_reason: str | None = None
        self.gone_for_good = False  # it was told to go, and will not hear what becomes of a message
        self.of_no_message: list[bytes] = []  # errors that nobody needs to hear later
        self._unheard: list[bytes] = []  # what the relay said to it and will not reach it here
        self._last_word: tuple[int, str] | None = None  # the close that comes after what waits
        self._socket = socket
        self._transport = transport
        self._tasks = tasks
        self.log = log.bind(client=self.id, **parts.whose)

    def ping(self) -> None:
        self._transport.write(SERVER_PING)

    def fell_silent(self) -> None:
        """No pong came: whoever is there does not read any more."""
        self.close(CloseCode.NO_PONG, f"{self._parting_cursor()}no pong")

    def send(self, data: bytes) -> None:
        """Give this client one text message."""
        if self.outbox.closed:
            self._note_unheard(data)
        else:
            self.outbox.offer(server_frame(data))

    def unheard(self) -> list[bytes]:
        """Take and write nothing more; returns what the relay itself has said in vain."""
        self._note_unheard(*self.outbox.close().notices)
        return self._unheard

    def _note_unheard(self, *notices: bytes) -> None:
        if self.wishes.client_id is not None or self.goes_by_cursor:  # it may come back
            room = MOST_FOR_EACH - len(self._unheard)
            later = [each for each in notices if each not in self.of_no_message]
            self._unheard += later[: max(0, room)]

    @property
    def cursor(self) -> str | None:
        """Where it would have to go on, when it cannot keep up."""
        return self.session_cursor(self.outbox.sent_seq) if self.session_cursor else None

    def _parting_cursor(self) -> str:
        """What a reason to close begins with. Many have had the same message: where answers are
        for their askers alone the cursor says who it is that goes on from there."""
        if self.cursor is None:
            return ""
        name = f"@{self.name}" if self.goes_by_cursor else ""
        return f"cursor={self.cursor}{name} "

    @property
    def unsent(self) -> bool:
        """Whether something lies before its socket: it has not read for a while."""
        return self.outbox.waiting_messages > 0 or self._transport.get_write_buffer_size() > 0

    def _merged(self, count: int) -> None:
        self._numbers.merged += count

    def _stalled(self, stalled: Stalled) -> None:
        self._note_unheard(*stalled.lost.notices)
        if self._last_word is not None:
            self._count_lost(stalled.lost.count)
            self.close(*self._last_word)
            return
        self.log.warning("client.stalled", reason=stalled.reason, cursor=self.cursor)
        self.close(CloseCode.SLOW_CLIENT, f"{self._parting_cursor()}{stalled.reason}")

    def close(self, code: int, reason: str) -> None:
        """Say goodbye with a code; cut the connection if the client does not answer."""
        if self.close_sent is not None:
            return
        self.close_sent, self.close_reason = code, reason
        self.outbox.write_now()
        lost = self.outbox.close()
        self._note_unheard(*lost.notices)
        if code in _FOR_GOOD:
            self.gone_for_good = True
            self._count_lost(lost.count)
        self._tasks.start(self._close(code, reason), f"close {self.id}")

    def finish(self, code: int, reason: str) -> None:
        """Say goodbye once the client has read what stands here for it, for nobody can get that
        later. One that does not read is waited for as long as a slow client ever is."""
        if self.close_sent is not None or self._last_word is not None:
            return
        self.outbox.write_now()
        if self.outbox.empty:
            self.close(code, reason)
            return
        self._last_word = code, reason
        self._tasks.start(self._finish(code, reason), f"finish {self.id}")

    async def _finish(self, code: int, reason: str) -> None:
        least, moved_at = self.outbox.waiting_bytes, time.monotonic()
        while self.close_sent is None and not self.outbox.empty:
            await asyncio.sleep(RETRY_S)
            if self.outbox.waiting_bytes < least:
                least, moved_at = self.outbox.waiting_bytes, time.monotonic()
            elif time.monotonic() - moved_at > self._stall_s:
                break
        self.close(code, reason)

    def _count_lost(self, count: int) -> None:
        if count:
            self._numbers.drops["slow_client"] += count
            self.log.warning("client.cut_short", messages=count)

    async def _close(self, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._socket.close(code=code, message=reason_bytes(reason))
        except (TimeoutError, ConnectionError):
            self.log.debug("client.cut", code=int(code))
        finally:
            self._transport.abort()
