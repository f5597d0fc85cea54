"""`MegaBotClient`: one resumable session at a MegaBot endpoint, for Python programs.

async with MegaBotClient("ws://127.0.0.1:3000/ws", username="ada", password=…) as client:
    answer = await client.ask("What is a relay?", on_chunk=print)
    async for received in client:
        print(received.text)
"""

from __future__ import annotations

import asyncio
import random
import ssl as ssl_module
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Literal

import aiohttp
import msgspec

from megabot_cli.client.answers import Answer, PendingAnswer
from megabot_cli.client.credentials import Credential, jwt_expiry
from megabot_cli.client.dial import Dialed, Socket, dial
from megabot_cli.client.endpoint import parse_endpoint
from megabot_cli.client.ids import new_id
from megabot_cli.client.tokens import TokenSource
from megabot_cli.errors import (
    BadData,
    ConnectionLost,
    MegabotError,
    NotAuthenticated,
    RateLimited,
    TimedOut,
)
from megabot_cli.protocol.backoff import Backoff, Linear
from megabot_cli.protocol.close_codes import MEANING, CloseCode, reason_bytes
from megabot_cli.protocol.envelope import Head, build, peek
from megabot_cli.protocol.limits import TokenBucket
from megabot_cli.protocol.validation import check

State = Literal["new", "connecting", "up", "reconnecting", "closed"]
EventKind = Literal["open", "lost", "resumed", "new_session", "closed", "dropped"]

INBOX_MESSAGES = 10_000  # for a slow `async for`; beyond it the oldest go, and an event tells


class ClientEvent(msgspec.Struct, frozen=True):
    """Something about the connection: what happened, and the session in force."""

    kind: EventKind
    session_id: str | None = None
    detail: str | None = None
    close_code: int | None = None


class Received(msgspec.Struct, frozen=True):
    """One message: exact text (bytes when it was binary), what `peek` saw, and when (Unix s)."""

    text: str | bytes
    head: Head | None
    at: float

    def payload(self) -> Any:
        """The decoded payload; None when the message is no envelope."""
        try:
            envelope = msgspec.json.decode(self.text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return envelope.get("payload") if isinstance(envelope, dict) else None


class MegaBotClient:
    """A connection that logs in, resumes its session after a loss, and keeps the limits.

    Give one of `token`, `api_key`, `username` with `password`, or `tokens`; nothing where
    none is needed (a local relay). `reconnect` says when to dial again after a loss; None
    gives up at once. `on_event` hears of losses and returns.

    Every error is a `MegabotError` with a hint: NotAuthenticated, CouldNotConnect,
    ConnectionLost (given up), RateLimited (too much waits), BadData (not a valid message).
    """

    def __init__(
        self,
        url: str = "ws://localhost:3000/ws",
        *,
        token: str | None = None,
        api_key: str | None = None,
        username: str | None = None,
        password: str | None = None,
        tokens: TokenSource | None = None,
        http: aiohttp.ClientSession | None = None,
        session_id: str | None = None,
        user_id: str | None = None,
        platform: str | None = "python",
        send_in: str = "header",
        reconnect: Backoff | None = Linear(),  # noqa: B008  a frozen value
        heartbeat_s: float | None = 25.0,
        timeout_s: float = 10.0,
        validate: bool = True,
        messages_per_second: float = 10.0,
        burst: float = 10.0,
        queue: int = 100,
        max_message_bytes: int = 1024 * 1024,
        ssl: ssl_module.SSLContext | bool = True,
        on_event: Callable[[ClientEvent], None] | None = None,
    ) -> None:
        self.session_id = session_id
        self.user_id = user_id
        self.capabilities: tuple[str, ...] = ()
        self.state: State = "new"
        self.resumed: bool | None = None
        self._endpoint = parse_endpoint(url)
        self._credential = self._given(token, api_key)
        self._login = (username, password) if username and password is not None else None
        self._tokens = tokens
        self._http = http
        self._owns_http = http is None
        self._asked_user_id = user_id
        self._platform = platform
        self._send_in = send_in
        self._reconnect = reconnect
        self._heartbeat_s = heartbeat_s
        self._timeout_s = timeout_s
        self._validate = validate
        self._max_bytes = max_message_bytes
        self._ssl = ssl
        self._on_event = on_event
        self._rate, self._burst, self._queue = messages_per_second, burst, queue
        self._socket: Socket | None = None
        self._up = asyncio.Event()
        self._over: MegabotError | None = None
        self._reader: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()
        self._senders = 0
        self._inbox: deque[Received] = deque()
        self._iterators = 0
        self._arrived = asyncio.Condition()
        self._answers: dict[str, PendingAnswer] = {}

    def _given(self, token: str | None, api_key: str | None) -> Credential | None:
        origin = self._endpoint.origin
        if api_key is not None:
            return Credential(kind="api_key", secret=api_key, origin=origin)
        if token is not None:
            expires_at = jwt_expiry(token)
            return Credential(kind="jwt", secret=token, origin=origin, expires_at=expires_at)
        return None

    # -- life --------------------------------------------------------------------------

    async def __aenter__(self) -> MegaBotClient:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect and wait for the greeting."""
        self.state = "connecting"
        if self._http is None:
            self._http = aiohttp.ClientSession()
        if self._tokens is None:
            self._tokens = TokenSource(
                self._http,
                self._endpoint,
                credential=self._credential,
                login=self._login,
            )
        loop = asyncio.get_running_loop()
        self._bucket = TokenBucket(self._rate, self._burst, loop.time())
        try:
            self._came_up(await self._connect())
        except BaseException:
            await self.close()
            raise
        self._reader = loop.create_task(self._live(), name="megabot client")

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Say goodbye and let everything go; safe to call again."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close(code=code, message=reason_bytes(reason))
        if self._owns_http and self._http is not None:
            await self._http.close()
            self._http = None
        if self.state != "closed":
            self.state = "closed"
            await self._end(ConnectionLost("the client was closed"), told=False)
            self._tell("closed", close_code=code)

    async def _connect(self) -> Dialed:
        assert self._http is not None
        assert self._tokens is not None
        credential = await self._tokens.current()
        for last_try in (False, True):
            try:
                return await dial(
                    self._http,
                    self._endpoint,
                    credential,
                    session_id=self.session_id,
                    user_id=self._asked_user_id,
                    platform=self._platform,
                    send_in=self._send_in,
                    timeout_s=self._timeout_s,
                    heartbeat_s=self._heartbeat_s,
                    # Our limit is for what we send; what comes is the upstream's to bound.
                    max_message_bytes=self._max_bytes * 4,
                    ssl=self._ssl,
                )
            except NotAuthenticated:
                if last_try or credential is None:
                    raise
                credential = await self._tokens.after_refusal(credential)
        raise AssertionError("the loop returns or raises")

    def _came_up(self, dialed: Dialed) -> None:
        greeting = dialed.greeting
        assert greeting is not None
        asked = self.session_id
        self._socket = dialed.socket
        self.session_id = greeting.session_id
        self.user_id = greeting.user_id or self.user_id
        self.capabilities = greeting.capabilities
        self.resumed = None if asked is None else asked == greeting.session_id
        kind: EventKind = "open" if self.state == "connecting" else "resumed"
        if self.resumed is False:
            kind = "new_session"
        self.state = "up"
        self._up.set()
        self._keep(Received(greeting.text, peek(greeting.text), time.time()))
        self._tell(kind)

    async def _live(self) -> None:
        """Read until closed; dial again after a loss, for as long as the schedule allows."""
        while self._socket is not None:
            socket = self._socket
            try:
                await self._read(socket)
            finally:
                self._up.clear()
                self._socket = None
            code = int(socket.close_code or 1006)
            self.state = "reconnecting"
            meaning = MEANING.get(code, "closed by the upstream")
            self._tell("lost", meaning, close_code=code)
            lost = ConnectionLost(f"the connection was lost: {meaning}", close_code=code)
            try:
                await self._dial_again(lost)
            except MegabotError as fault:
                self.state = "closed"
                await self._end(fault, told=True)
                return

    async def _dial_again(self, lost: ConnectionLost) -> None:
        attempt = 0
        fault: MegabotError = lost
        while True:
            attempt += 1
            schedule = self._reconnect
            delay_s = schedule.delay_s(attempt, random.random()) if schedule else None  # noqa: S311
            if delay_s is None:
                hint = None if fault is lost else f"The last try: {fault.message}."
                raise ConnectionLost(lost.message, hint, close_code=lost.close_code)
            await asyncio.sleep(max(delay_s, fault.retry_after_s or 0.0))
            try:
                self._came_up(await self._connect())
            except MegabotError as again:
                if not again.retryable:
                    raise
                fault = again
            else:
                self._abandon_unresumed()
                return

    def _abandon_unresumed(self) -> None:
        """In a new session nobody will answer what was asked in the old one."""
        if self.resumed:
            return
        for pending in self._answers.values():
            pending.fail(ConnectionLost("the session was lost before the answer was complete"))

    async def _end(self, fault: MegabotError, *, told: bool) -> None:
        self._over = fault
        self._up.set()  # whoever waits for the link sees that it will not come
        for pending in self._answers.values():
            pending.fail(fault)
        async with self._arrived:
            self._arrived.notify_all()
        if told:
            self._tell("closed", fault.message, close_code=fault.close_code)

    def _tell(
        self, kind: EventKind, detail: str | None = None, *, close_code: int | None = None
    ) -> None:
        if self._on_event is not None:
            self._on_event(ClientEvent(kind, self.session_id, detail, close_code))

    # -- sending -----------------------------------------------------------------------

    async def send(
        self,
        message_type: str,
        payload: Any,
        *,
        metadata: dict[str, Any] | None = None,
        message_id: str | None = None,
    ) -> str:
        """Send one message within the rate limit and return its id.

        BadData when it breaks the specification, RateLimited when `queue` others wait.
        """
        message_id = message_id or new_id("msg")
        text = build(message_id, message_type, payload, at=time.time(), metadata=metadata)
        if self._validate and (problem := check(text, max_bytes=self._max_bytes)) is not None:
            raise BadData(f"this message is not valid: {problem}")
        await self.send_text(text)
        return message_id

    async def send_text(self, text: str | bytes) -> None:
        """Send exactly this, unchecked: str as text, bytes as binary. Waits while reconnecting."""
        if self._queue and self._senders >= self._queue:
            raise RateLimited(f"{self._senders} messages wait already", "Send more slowly.")
        self._senders += 1
        try:
            async with self._sending:  # first come, first served
                await self._my_turn()
                await self._write(text)
        finally:
            self._senders -= 1

    async def _my_turn(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._bucket.take(loop.time()):
            await asyncio.sleep(self._bucket.wait_s(loop.time()))

    async def _write(self, text: str | bytes) -> None:
        while True:
            await self._up.wait()
            if self._over is not None:
                raise self._over
            socket = self._socket
            if socket is None or socket.closed:
                await asyncio.sleep(0)  # the reader is about to notice
                continue
            opcode = aiohttp.WSMsgType.TEXT if isinstance(text, str) else aiohttp.WSMsgType.BINARY
            data = text.encode() if isinstance(text, str) else text
            try:
                await socket.send_frame(data, opcode)
            except (ConnectionError, aiohttp.ClientError):
                # It may have left in part: sending it again could say it twice.
                raise ConnectionLost(
                    "the connection fell while sending; the message may have arrived"
                ) from None
            return

    # -- receiving ---------------------------------------------------------------------

    async def _read(self, socket: Socket) -> None:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                text = message.data.decode("utf-8", "replace")
                received = Received(text, peek(message.data), time.time())
            elif message.type is aiohttp.WSMsgType.BINARY:
                received = Received(message.data, None, time.time())
            else:
                continue
            self._keep(received)
            for pending in list(self._answers.values()):
                pending.see(received.text, received.head)
            if self._iterators:
                async with self._arrived:
                    self._arrived.notify_all()

    def _keep(self, received: Received) -> None:
        """Messages are kept from the greeting on, for an `async for` that starts later.

        Nobody has to iterate: beyond the bound the oldest go, and if somebody does iterate
        an event tells of the loss.
        """
        if len(self._inbox) >= INBOX_MESSAGES:
            self._inbox.popleft()
            if self._iterators:
                self._tell("dropped", "messages came faster than they were read")
        self._inbox.append(received)

    async def __aiter__(self) -> AsyncIterator[Received]:
        """Every message in order, until closed; ConnectionLost when it was given up."""
        self._iterators += 1
        try:
            while True:
                while self._inbox:
                    yield self._inbox.popleft()
                async with self._arrived:
                    await self._arrived.wait_for(lambda: self._inbox or self._over is not None)
                if self._inbox:
                    continue
                if self.state == "closed" and self._over is not None:
                    if self._reader is None:
                        return
                    raise self._over
        finally:
            self._iterators -= 1

    # -- asking ------------------------------------------------------------------------

    async def ask(
        self,
        content: str,
        *,
        timeout_s: float | None = None,
        on_chunk: Callable[[str], None] | None = None,
        metadata: dict[str, Any] | None = None,
        **payload: Any,
    ) -> Answer:
        """Send a `chat_send` and return the whole answer; `on_chunk` gets its text as it comes.

        TimedOut after `timeout_s`; the upstream's refusal as the error it means.
        """
        return await self.request(
            "chat_send",
            {"content": content, **payload},
            timeout_s=timeout_s,
            on_chunk=on_chunk,
            metadata=metadata,
        )

    async def request(
        self,
        message_type: str,
        payload: Any,
        *,
        until: str | None = None,
        timeout_s: float | None = None,
        on_chunk: Callable[[str], None] | None = None,
        metadata: dict[str, Any] | None = None,
        message_id: str | None = None,
    ) -> Answer:
        """Send a message and return what answers it.

        `until` names the type that ends the wait; without it the answer's own end does: a
        completed stream, a `chat_receive`, a `tool_result`.
        """
        message_id = message_id or new_id("msg")
        keys = {message_id}
        if isinstance(payload, dict) and isinstance(payload.get("execution_id"), str):
            keys.add(payload["execution_id"])
        alone = not self._answers
        pending = PendingAnswer(message_id, keys, until=until, on_chunk=on_chunk, alone=alone)
        self._answers[message_id] = pending
        try:
            async with asyncio.timeout(timeout_s):
                await self.send(message_type, payload, metadata=metadata, message_id=message_id)
                return await pending.wait()
        except TimeoutError:
            raise TimedOut(
                f"no whole answer came within {timeout_s:g} s", "Give it longer with a --timeout."
            ) from None
        finally:
            del self._answers[message_id]
