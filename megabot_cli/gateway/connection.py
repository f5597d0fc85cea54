"""One client's connection: read, limit, hand on; and end it well."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog
from aiohttp import WSMsgType

from megabot_cli.client.tasks import TaskSet
from megabot_cli.config.schema import LimitSettings, OutboxSettings
from megabot_cli.errors import BadData
from megabot_cli.gateway import outgoing
from megabot_cli.gateway.accounts import User
from megabot_cli.gateway.bundling import Bundle, unbundled
from megabot_cli.gateway.handlers import Handlers
from megabot_cli.gateway.inbox import Arrived, Inbox
from megabot_cli.gateway.outbox import BinaryMessage, Outbox, Socket
from megabot_cli.gateway.parameters import Parameters
from megabot_cli.gateway.scenarios.resetting import reset
from megabot_cli.gateway.sessions import Session
from megabot_cli.gateway.signatures import Signing
from megabot_cli.protocol.batching import unwrap
from megabot_cli.protocol.close_codes import CloseCode, reason_bytes
from megabot_cli.protocol.compression import Overlong, inflate, is_gzip
from megabot_cli.protocol.envelope import peek
from megabot_cli.protocol.messages import Batch
from megabot_cli.protocol.validation import Problem, read
from megabot_cli.wording import counted

if TYPE_CHECKING:
    from megabot_cli.gateway.scenarios.performing import Performance
    from megabot_cli.gateway.scenarios.stage import Stage

# What the greeting tells of us. "gzip": long messages may travel with `compression=gzip`.
CAPABILITIES = ("chat", "realtime", "streaming", "tools", "collaboration", "batch", "gzip")
# A client that closes with one of these is done; any other end may be followed by a resume.
GOODBYES = frozenset({CloseCode.NORMAL, CloseCode.GOING_AWAY})
GOODBYE_S = 0.8  # for the peer to answer a close

# Messages that came together are read without a pause; this often others have their turn.
_MESSAGES_BETWEEN_YIELDS = 64

log = structlog.get_logger()


class Connection:
    """`run` is its whole life. All else is called from within or by its session."""

    def __init__(
        self,
        user: User,
        session: Session,
        socket: Socket,
        transport: asyncio.Transport,
        drain: Callable[[], Awaitable[None]],
        *,
        limits: LimitSettings,
        outbox: OutboxSettings,
        handlers: Handlers,
        tasks: TaskSet,
        parameters: Parameters,
        until: float | None = None,
        signing: Signing | None = None,
        stage: Stage | None = None,
        number: int = 0,
        open_session: Callable[[], Session] | None = None,
    ) -> None:
        self.user = user
        self.session = session
        self._socket = socket
        self._transport = transport
        self._limits = limits
        self._handlers = handlers
        self._tasks = tasks
        self._inbox = Inbox(limits, time.monotonic())
        self._handling_later = False
        self.over = False
        self._said_goodbye = False
        self._closed_with: int | None = None
        self.ended = asyncio.Event()  # set by the owner, when nothing is left of it
        self._outbox = Outbox(
            socket,
            transport,
            drain,
            outbox,
            tasks,
            on_stalled=self._close_slow,
            on_room=self._room_made,
            gzip=parameters.gzip,
        )
        self._parameters = parameters
        self.platform = parameters.platform_name
        self._until = until  # Unix seconds, when the token's time is over
        self._bundle: Bundle | None = None
        if parameters.batch_size:
            most_bytes = limits.max_message_bytes
            self._bundle = Bundle(parameters.batch_size, most_bytes, self._write_bundled)
        self._signing = signing
        self._open_session = open_session
        self._performance: Performance | None = None
        if stage is not None:
            from megabot_cli.gateway.scenarios.performing import Performance  # few gateways need it

            self._performance = Performance(stage, self, number, tasks, self._room_made)

    @property
    def congested(self) -> bool:
        behind = self._performance is not None and self._performance.congested
        return behind or self._outbox.congested

    @property
    def close_code(self) -> int:
        """Why it ended: our reason, else the peer's."""
        return int(self._closed_with or self._socket.close_code or CloseCode.NORMAL)

    def send(self, message: bytes) -> None:
        if self._performance is not None:
            self._performance.send(message)
        else:
            self.send_as_usual(message)

    def send_as_usual(self, message: bytes) -> None:
        """Sign and write, past any scenario."""
        if self._signing is not None:
            message = self._signing.signer.sign(message)
        if self._bundle is not None:
            self._bundle.add(message)
        else:
            self._outbox.send(message)

    def _write_bundled(self, message: bytes, wrapped: bool) -> None:
        if wrapped and self._signing is not None:
            message = self._signing.signer.sign(message)
        self._outbox.send(message)

    def send_raw(self, content: bytes, *, binary: bool) -> None:
        """Write what is no message, as a scenario wants it."""
        self._flush()
        self._outbox.send(BinaryMessage(content) if binary else content)

    def handle_as_usual(self, arrived: Arrived) -> None:
        self._handlers.handle(self, arrived)

    def start_close(self, code: int, reason: str) -> None:
        """Begin to say goodbye; `run` ends when that is done."""
        self._tasks.start(self.close(code, reason), "gateway goodbye")

    def reset(self) -> None:
        reset(self._transport)

    def begin_new_session(self) -> None:
        """Leave the session for a new one, and greet the client again."""
        assert self._open_session is not None, "only a gateway's connections change sessions"
        self.session.detach(self, [], time.monotonic())
        self.session = self._open_session()
        self._greet()
        self.session.attach(self)

    def refuse(self, error: str, text: str, code: int, reply_to: str | None) -> None:
        """Answer a message of this connection, and nobody else, with a `connection_error`."""
        session_id = self.session.session_id
        self.send(outgoing.refusal(error, text, code, reply_to=reply_to, session_id=session_id))

    async def run(self) -> None:
        """Greet, deliver what waited, and serve until the connection ends."""
        self._greet()
        for error, text in self._parameters.problems():
            self.refuse(error, text, 400, None)
        self.session.attach(self)
        expiry = self._expect_expiry()
        if self._performance is not None:
            self._performance.opened()
        try:
            await self._read()
        except Exception as fault:
            log.error("connection.failed", session=self.session.session_id, exc_info=fault)
            await self.close(CloseCode.INTERNAL_ERROR, "internal error")
        finally:
            self.over = True
            if expiry is not None:
                expiry.cancel()
            self._handlers.left(self)
            unsent = await self._performance.finish() if self._performance is not None else []
            undelivered = await self._outbox.finish()
            if self._bundle is not None:
                undelivered = unbundled(undelivered) + self._bundle.finish()
            self.session.detach(self, undelivered + unsent, time.monotonic())
            if self._said_goodbye:
                self.session.goodbye()
            await self._socket.part()
            # A closed transport stays as long as it has something to write to a dead peer.
            asyncio.get_running_loop().call_later(GOODBYE_S, self.abort)

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye, and end the connection whether or not the peer answers."""
        self._closed_with = self._closed_with or code
        self._flush()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    await self._socket.close(code=code, message=reason_bytes(reason), drain=False)
        finally:
            self.abort()

    def abort(self) -> None:
        """End the connection as a broken line would."""
        self._transport.abort()

    def _flush(self) -> None:
        if self._bundle is not None:
            self._bundle.flush()

    def _expect_expiry(self) -> asyncio.TimerHandle | None:
        if self._until is None:
            return None
        left_s = max(0.0, self._until - time.time())
        return asyncio.get_running_loop().call_later(left_s, self._expire)

    def _expire(self) -> None:
        """The token's time is over. The session stays, for who comes back with a new one."""
        log.info("connection.token_expired", session=self.session.session_id)
        self.refuse("authentication_failed", "The token has expired", 401, None)
        self.start_close(CloseCode.POLICY_VIOLATION, "The token has expired")

    def _greet(self) -> None:
        payload = {
            "session_id": self.session.session_id,
            "user_id": self.user.user_id,
            "capabilities": CAPABILITIES,
        }
        self.send(outgoing.message("connection_established", payload))

    async def _read(self) -> None:
        count = 0
        while True:
            received = await self._socket.receive()
            kind = received.type
            if kind is WSMsgType.TEXT:
                if not _is_utf8(received.data):
                    # RFC 6455, 8.1: such a connection must be failed.
                    await self.close(CloseCode.INVALID_TEXT, "text that is not UTF-8")
                    return
                self._receive(received.data)
            elif kind is WSMsgType.BINARY:
                self._receive_binary(received.data)
            elif kind is WSMsgType.PING:
                self._pong(received.data)
            elif kind is not WSMsgType.PONG:
                self._said_goodbye = kind is WSMsgType.CLOSE and received.data in GOODBYES
                return
            count += 1
            if count % _MESSAGES_BETWEEN_YIELDS == 0:
                await asyncio.sleep(0)

    def _pong(self, payload: bytes) -> None:
        if self._performance is None or not self._performance.never_pong:
            self._outbox.pong(payload)

    def _receive_binary(self, data: bytes) -> None:
        """Gzip of a text is as good as the text, whoever sends it; nothing else is expected."""
        if not is_gzip(data):
            text = "$: expected JSON as text, got binary data"
            self.refuse("invalid_message", text, 400, None)
            return
        try:
            inflated = inflate(data, self._limits.max_message_bytes)
        except Overlong as fault:
            self.refuse("message_too_large", fault.message, 413, None)
        except BadData as fault:
            self.refuse("invalid_message", fault.message, 400, None)
        else:
            self._receive(inflated)

    def _receive(self, text: bytes) -> None:
        problem = self._signing.check(text) if self._signing is not None else None
        if problem is not None:
            log.warning("message.not_signed", problem=str(problem))
            head = peek(text)
            self.refuse("bad_signature", str(problem), 400, head.id if head else None)
            return
        self._take(text)

    def _take(self, text: bytes) -> None:
        """Handle a text that may pass, soon and in its order."""
        message = read(text, max_bytes=self._limits.max_message_bytes)
        if isinstance(message, Problem):
            self._refuse_invalid(text, message)
            return
        if isinstance(message.payload, Batch):
            arrived = [one for inner in unwrap(text) if (one := _arrived(inner.encode()))]
        else:
            arrived = [Arrived(message, text)]
        if not self._inbox.accept(arrived):
            self.refuse("rate_limited", self._full_text(), 429, message.id)
        elif not self._handling_later and not self._handle_ready():
            self._handling_later = True
            self._tasks.start(self._handle_later(), "gateway inbox")

    def _refuse_invalid(self, text: bytes, problem: Problem) -> None:
        head = peek(text)
        error = "message_too_large" if problem.code == 413 else "invalid_message"
        self.refuse(error, str(problem), problem.code, head.id if head else None)

    def _full_text(self) -> str:
        rate = self._limits.messages_per_second
        pace = f"at most {rate:g} a second are handled" if rate else "answers are under way"
        return f"{counted(len(self._inbox), 'message')} in the queue already; {pace}."

    def _handle_ready(self) -> bool:
        """Handle what may be handled now; True when nothing is left."""
        while not self.session.answers.full:
            arrived = self._inbox.take(time.monotonic())
            if arrived is None:
                break
            self._handle(arrived)
        return not self._inbox

    async def _handle_later(self) -> None:
        """Handle all that was accepted, as fast as the limits allow, even after a goodbye."""
        try:
            while not self._handle_ready():
                await self.session.answers.until_room()
                await asyncio.sleep(self._inbox.wait_s(time.monotonic()))
        finally:
            self._handling_later = False

    def _handle(self, arrived: Arrived) -> None:
        try:
            if self._performance is not None:
                self._performance.received(arrived)
            else:
                self.handle_as_usual(arrived)
        except Exception as fault:  # whatever one message does, its connection stays
            log.error("message.failed", type=arrived.message.type, exc_info=fault)
            self.refuse("internal", "The gateway failed at this message.", 500, arrived.message.id)

    def _room_made(self) -> None:
        self.session.room_made()

    def _close_slow(self) -> None:
        log.warning("connection.stalled", session=self.session.session_id)
        self._tasks.start(self.close(CloseCode.SLOW_CLIENT, "client too slow"), "gateway goodbye")


def _arrived(text: bytes) -> Arrived | None:
    message = read(text, max_bytes=0)
    return None if isinstance(message, Problem) else Arrived(message, text)


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
