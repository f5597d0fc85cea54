"""`MegaBotClient`: one resumable session at a MegaBot endpoint, for Python programs.

async with MegaBotClient("ws://127.0.0.1:3000/ws", username="ada", password=…) as client:
    answer = await client.ask("What is a relay?", on_chunk=print)
    async for received in client:
        print(received.text)
"""

from __future__ import annotations

import asyncio
import ssl as tls
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal

import aiohttp

from megabot_cli.client.answers import Answer, PendingAnswer, Until
from megabot_cli.client.batches import Batches
from megabot_cli.client.correlation import RESUME_PATIENCE_S
from megabot_cli.client.credentials import given_credential
from megabot_cli.client.dial import Compression, Greeting, Socket, connector_for
from megabot_cli.client.endpoint import parse_endpoint
from megabot_cli.client.ids import new_id
from megabot_cli.client.kept_connection import KeptConnection, Listener
from megabot_cli.client.observing import MessageLog
from megabot_cli.client.reacting import State
from megabot_cli.client.received import ClientEvent, EventKind, Received
from megabot_cli.client.receiving import Receiving
from megabot_cli.client.reconnect import Attempts, Loss
from megabot_cli.client.sending import Sender
from megabot_cli.client.tokens import TokenSource
from megabot_cli.client.wire_form import WireForm
from megabot_cli.config.schema import Dialect
from megabot_cli.errors import (
    BadData,
    ConnectionLost,
    MegabotError,
    TimedOut,
    WrongUsage,
)
from megabot_cli.protocol.backoff import Backoff, Linear
from megabot_cli.protocol.close_codes import CloseCode
from megabot_cli.protocol.envelope import build, peek
from megabot_cli.protocol.limits import TokenBucket
from megabot_cli.protocol.signing import Signer
from megabot_cli.protocol.validation import check
from megabot_cli.wording import counted

__all__ = ["Answer", "ClientEvent", "MegaBotClient", "Received"]

# Our limit is for what we send; what comes is the upstream's to bound, within reason.
ARRIVING_FACTOR = 4


class MegaBotClient(Receiving):
    """A connection that logs in, resumes its session after a loss, and keeps the limits.

    Give one of `token`, `api_key`, `username` with `password`, or `tokens`; none where
    none is needed (a local relay). `http` is a session to use, else one is made and closed.
    `reconnect` says when to dial again after a loss; None never. `on_event` is called for
    each `ClientEvent` and must return at once; what it raises ends the client.
    With `dialect` "flat" it connects and carries flat text both ways, without a session;
    `FlatClient` is the one that speaks it. `query` is said to the upstream as well when
    connecting: `{"role": "executor"}` tells a relay that this client carries tool calls out.
    `messages_per_second`, `queue`, `max_message_bytes`, `heartbeat_s`: 0 is no limit, none.
    `batching` sends what is sent within 100 ms, up to ten messages, as one `batch`.
    `log_messages`: so many of the newest messages are remembered, without secrets, for
    `message_log`. An answer of which nothing comes for `resume_patience_s` after a loss that
    was resumed is given up: the question may have been lost.
    `signer` signs what is sent; with `require_signatures` what comes must be signed too.

    Errors are `MegabotError`s: NotAuthenticated, NotPermitted, CouldNotConnect from
    opening; ConnectionLost when a connection was given up; others where they are named.
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
        send_in: Literal["header", "query"] = "header",
        query: Mapping[str, str] | None = None,
        dialect: Dialect = "megabot",
        reconnect: Backoff | None = Linear(),  # noqa: B008  a frozen value
        heartbeat_s: float | None = 25.0,
        timeout_s: float = 10.0,
        validate: bool = True,
        messages_per_second: float = 10.0,
        burst: float = 10.0,
        queue: int = 100,
        max_message_bytes: int = 1024 * 1024,
        compression: Compression = "deflate",
        signer: Signer | None = None,
        require_signatures: bool = False,
        ssl: tls.SSLContext | bool = True,
        on_event: Callable[[ClientEvent], None] | None = None,
        batching: bool = False,
        log_messages: int | MessageLog = 0,
        resume_patience_s: float = RESUME_PATIENCE_S,
    ) -> None:
        if sum(given is not None for given in (token, api_key, username, tokens)) > 1:
            raise WrongUsage("Give only one of token, api_key, username with password, and tokens")
        if (username is None) != (password is None):
            raise WrongUsage("username and password go together")
        super().__init__(log_messages, self._tell_gap)
        self.session_id = session_id
        self.user_id = user_id
        self.capabilities: tuple[str, ...] = ()
        self.resumed: bool | None = None  # None: no session was asked for
        self._endpoint = parse_endpoint(url)
        self._credential = given_credential(self._endpoint.origin, token, api_key)
        self._login = (
            (username, password) if username is not None and password is not None else None
        )
        self._tokens = tokens
        self._http = http
        self._own_http: aiohttp.ClientSession | None = None
        self._dial_options: dict[str, Any] = {
            "user_id": user_id,
            "platform": platform,
            "send_in": send_in,
            "query": query,
            "dialect": dialect,
            "timeout_s": timeout_s,
            "heartbeat_s": heartbeat_s,
            "max_message_bytes": max_message_bytes * ARRIVING_FACTOR,
            "compression": compression,
            "ssl": ssl,
        }
        self._ssl = ssl
        self._validate = validate
        self._max_bytes = max_message_bytes
        self._on_event = on_event
        self._state: State = "new"
        self._attempts = Attempts(reconnect)
        self._form = WireForm(
            gzip=compression == "gzip",
            signer=signer,
            require_signatures=require_signatures,
            most_bytes=max_message_bytes * ARRIVING_FACTOR,
        )
        self._sender = Sender(
            TokenBucket(messages_per_second, burst, 0.0), queue, self._form, self._sent
        )
        self._batches: Batches | None = None
        if batching:
            most = max_message_bytes or ARRIVING_FACTOR * 1024 * 1024
            self._batches = Batches(self._sender.send, size=10, delay_s=0.1, max_bytes=most)
        self._resume_patience_s = resume_patience_s
        self._close_turn = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<MegaBotClient {self._endpoint.origin} {self._state} session={self.session_id}>"

    @property
    def state(self) -> State:
        return self._state

    @property
    def rate_limited(self) -> bool:
        return self._sender.rate_limited

    @property
    def unsigned(self) -> int:
        """Messages that were dropped because they were not signed as they must be."""
        return self._form.unsigned

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
        """Connect, and return when the upstream has greeted us. Once per client.

        A first connection that fails is not tried again: the caller hears why.
        """
        if self._state != "new":
            raise RuntimeError("a client is opened once; make a new one")
        self._state = "connecting"
        http = self._http
        if http is None:
            http = self._own_http = aiohttp.ClientSession(
                connector=connector_for(self._endpoint, self._ssl),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        tokens = self._tokens = self._tokens or TokenSource(
            http, self._endpoint, credential=self._credential, login=self._login, ssl=self._ssl
        )
        self._connection = KeptConnection(
            http,
            self._endpoint,
            tokens,
            self._attempts,
            Listener(self._came_up, self._went_down, self._tell_retry, self._heard, self._ended),
            session_id=self.session_id,
            dial_options=self._dial_options,
            form=self._form,
        )
        try:
            await self._connection.open()
        except BaseException:
            await self.close()
            raise

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Say goodbye with `code` and let everything go, within about a second.

        Safe to call again. Whoever still waits for an answer gets ConnectionLost;
        messages that came before can still be iterated over.
        """
        async with self._close_turn:
            connection, self._connection = self._connection, None
            http, self._own_http = self._own_http, None
            try:
                await self._handlers.stop()
                if self._batches is not None:
                    await self._batches.stop()
                if connection is not None:
                    await connection.close(code, reason)
            finally:
                if http is not None:
                    await http.close()
                self._end(ConnectionLost("The client was closed"), None, code)

    # -- what happens to the connection ------------------------------------------------

    def _came_up(self, socket: Socket, greeting: Greeting) -> None:
        first, asked = self._state == "connecting", self.session_id
        self._state = "up"
        self.session_id = self._questions.session_id = greeting.session_id
        self.user_id = greeting.user_id or self.user_id
        self.capabilities = greeting.capabilities
        self.resumed = None if asked is None else asked == greeting.session_id
        self._meter.came_up()
        self._heard(Received(greeting.text, peek(greeting.text), time.time()))
        if self.resumed:
            self._questions.resumed(self._resume_patience_s)
        if not first and not self.resumed:
            self._questions.session_gone()
        self._sender.came_up(socket)
        kind: EventKind = "open" if first else "resumed"
        self._tell("new_session" if self.resumed is False else kind)

    def _went_down(self, loss: Loss) -> None:
        self._sender.went_down()
        self._questions.lost(loss.code)
        self._state = "reconnecting"
        self._tell("lost", str(loss), close_code=loss.code)

    def _ended(self, fault: MegabotError) -> None:
        """The connection was given up, or the upstream ended it as one ends what is done."""
        well = fault.close_code == CloseCode.NORMAL
        self._end(fault, None if well else fault, fault.close_code)

    def _end(self, fault: MegabotError, for_readers: MegabotError | None, code: int | None) -> None:
        """Tell everybody who waits that nothing more will come."""
        if self._state == "closed":
            return
        self._state = "closed"
        self._sender.give_up(fault)
        self._questions.fail_all(fault)
        self._inbox.end(for_readers)
        self._tell("closed", fault.message, close_code=code)

    def _tell(self, kind: EventKind, detail: str | None = None, **more: Any) -> None:
        if self._on_event is not None:
            self._on_event(ClientEvent(kind, self.session_id, detail, **more))

    def _tell_retry(self, attempt: int, delay_s: float) -> None:
        self._tell("retry", attempt=attempt, delay_s=delay_s)

    def _tell_gap(self, missed: int) -> None:
        self._tell(
            "dropped", f"{counted(missed, 'message')} came faster than anybody read", missed=missed
        )

    # -- sending ---------------------------------------------------------------------------

    async def send(
        self,
        message_type: str,
        payload: Any,
        *,
        metadata: dict[str, Any] | None = None,
        message_id: str | None = None,
    ) -> str:
        """Send one message within the rate limit and return its id.

        Waits while a lost connection is being restored. Raises BadData when the message
        breaks the specification, RateLimited when `queue` others wait already, and
        ConnectionLost when there is no connection any more, or it fell in the middle.
        """
        message_id = message_id or new_id("msg")
        await self._leave(self._written(message_id, message_type, payload, metadata))
        return message_id

    async def _leave(self, text: str, on_write: Callable[[], None] | None = None) -> None:
        way = self._sender if self._batches is None else self._batches
        await way.send(text, on_write)

    async def send_text(
        self, text: str | bytes, on_write: Callable[[], None] | None = None
    ) -> None:
        """Send exactly this, unchecked: str as text, bytes as binary. Else as `send`.
        `on_write` is called when it is written, its turn and the rate limit waited for."""
        self._check_open()
        await self._sender.send(text, on_write)

    async def send_pack(
        self, texts: Sequence[str | bytes], on_write: Callable[[int], None]
    ) -> None:
        """As `send_text` with each in turn, and nobody between, in one write where no rate limit
        spreads them. `on_write` hears just before how many leave."""
        self._check_open()
        await self._sender.send_pack(texts, on_write)

    def _written(
        self, message_id: str, message_type: str, payload: Any, metadata: dict[str, Any] | None
    ) -> str:
        self._check_open()
        text = build(message_id, message_type, payload, at=time.time(), metadata=metadata)
        problem = check(text, max_bytes=self._max_bytes) if self._validate else None
        if problem is not None:
            raise BadData(f"The message is not valid: {problem}")
        return text

    async def ask(
        self,
        content: str,
        *,
        timeout_s: float | None = None,
        on_chunk: Callable[[str], None] | None = None,
        metadata: dict[str, Any] | None = None,
        **payload: Any,
    ) -> Answer:
        """Send a `chat_send` and return the whole answer; see `request`."""
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
        until: Until = None,
        timeout_s: float | None = None,
        on_chunk: Callable[[str], None] | None = None,
        metadata: dict[str, Any] | None = None,
        message_id: str | None = None,
    ) -> Answer:
        """Send a message and return what answers it.

        `until` None: the answer's own end (a whole stream or `chat_receive`, a
        `tool_result`, for other types the first message that names ours); a type: the
        first message of that type; a function: the first message it is true for.
        `on_chunk` gets the text as it becomes known, in order and each part once; the whole
        at once where an upstream does not stream. What it raises is raised here.

        Raises as `send` does; TimedOut after `timeout_s`; the error that a
        `connection_error` for this message stands for; ConnectionLost when the session
        could not be resumed.
        """
        message_id = message_id or new_id("msg")
        pending = PendingAnswer(message_id, message_type, payload, until=until)
        text = self._written(message_id, message_type, payload, metadata)
        self._questions.open(pending)
        try:
            async with asyncio.timeout(timeout_s) as deadline:
                await self._leave(text, lambda: pending.sent(time.monotonic()))
                await self._questions.follow(pending, on_chunk)
        except TimeoutError:
            if not deadline.expired():
                raise  # on_chunk's own
            raise TimedOut(
                f"No whole answer came within {timeout_s:g} s", "Give it a longer time."
            ) from None
        finally:
            self._questions.close(pending)
        return pending.answer()
