"""`FlatClient`: one connection to a MegaBot endpoint that speaks the flat dialect.

async with FlatClient("ws://127.0.0.1:3000/ws", token="…") as client:
    answer = await client.ask("What is a relay?")
    print(answer.content)
"""

from __future__ import annotations

import asyncio
import re
import ssl as tls
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Literal

import aiohttp
import msgspec

from megabot_cli.client.connection import ARRIVING_FACTOR
from megabot_cli.client.credentials import given_credential
from megabot_cli.client.dial import Greeting, Socket, connector_for
from megabot_cli.client.endpoint import parse_endpoint
from megabot_cli.client.inbox import Inbox
from megabot_cli.client.kept_connection import KeptConnection, Listener
from megabot_cli.client.received import Received
from megabot_cli.client.reconnect import Attempts, Loss
from megabot_cli.client.refusals import Refusal, refusal_error, refusal_from, who_of
from megabot_cli.client.sending import Sender
from megabot_cli.client.tokens import TokenSource
from megabot_cli.client.wire_form import WireForm
from megabot_cli.errors import BadData, ConnectionLost, MegabotError
from megabot_cli.protocol import flat
from megabot_cli.protocol.close_codes import CloseCode
from megabot_cli.protocol.envelope import UNREADABLE
from megabot_cli.protocol.limits import TokenBucket

_ERROR = re.compile(r"(?i:error)(?: (?P<code>[0-9]{3}))?: *(?P<words>.*)", re.DOTALL)


class FlatAnswer(msgspec.Struct, frozen=True):
    """What answered a message: the exact text and, where it has one, its `content`."""

    text: str
    content: str | None


class FlatClient:
    """A connection in the flat dialect: sends, asks, and hands out what comes.

    Give `token` or `tokens`; none where none is needed (a local relay, with `send_in`
    "header"). The dialect has no sessions to come back to, so a connection that falls is not
    dialled again: ConnectionLost. Nor does it say what answers what: the next message of
    the right type does, and one question is asked at a time.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        tokens: TokenSource | None = None,
        http: aiohttp.ClientSession | None = None,
        send_in: Literal["header", "query"] = "query",
        platform: str | None = "python",
        heartbeat_s: float | None = 25.0,
        timeout_s: float = 10.0,
        messages_per_second: float = 10.0,
        burst: float = 10.0,
        queue: int = 100,
        max_message_bytes: int = 1024 * 1024,
        ssl: tls.SSLContext | bool = True,
    ) -> None:
        self.greeting: str | None = None
        # Called with what a relay in between says of its upstream, while an answer is awaited.
        self.on_status: Callable[[Received], None] = lambda _: None
        self._endpoint = parse_endpoint(url)
        self._credential = given_credential(self._endpoint.origin, None, token)
        self._tokens = tokens
        self._http = http
        self._own_http: aiohttp.ClientSession | None = None
        self._ssl = ssl
        self._max_bytes = max_message_bytes
        self._dial_options: dict[str, Any] = {
            "dialect": "flat",
            "send_in": send_in,
            "platform": platform,
            "timeout_s": timeout_s,
            "heartbeat_s": heartbeat_s,
            "max_message_bytes": max_message_bytes * ARRIVING_FACTOR,
            "ssl": ssl,
        }
        self._form = WireForm(most_bytes=max_message_bytes * ARRIVING_FACTOR)
        self._sender = Sender(TokenBucket(messages_per_second, burst, 0.0), queue, self._form)
        self._inbox = Inbox(lambda missed: None)
        self._asking = asyncio.Lock()
        self._connection: KeptConnection | None = None

    @property
    def missed(self) -> int:
        """Messages that came but were let go before anybody iterated so far."""
        return self._inbox.missed

    async def __aenter__(self) -> FlatClient:
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
        """Connect, and return when the upstream has greeted us. Once per client."""
        if self._connection is not None:
            raise RuntimeError("a client is opened once; make a new one")
        http = self._http
        if http is None:
            http = self._own_http = aiohttp.ClientSession(
                connector=connector_for(self._endpoint, self._ssl),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        self._connection = KeptConnection(
            http,
            self._endpoint,
            self._tokens or TokenSource(http, self._endpoint, credential=self._credential),
            Attempts(None),
            Listener(self._came_up, self._went_down, _never_retried, self._inbox.put, self._end),
            form=self._form,
            session_id=None,
            dial_options=self._dial_options,
        )
        try:
            await self._connection.open()
        except BaseException:
            await self.close()
            raise

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Say goodbye and let everything go, within about a second. Safe to call again."""
        try:
            if self._connection is not None:
                await self._connection.close(code, reason)
        finally:
            if self._own_http is not None:
                await self._own_http.close()
            self._sender.give_up(ConnectionLost("The client was closed"))
            self._inbox.end(None)

    # -- talking -----------------------------------------------------------------------

    async def send(self, message_type: str, **fields: Any) -> None:
        """Send one message. Raises BadData for one that the dialect does not allow."""
        await self.send_text(flat.write(message_type, fields).decode())

    async def send_text(self, text: str) -> None:
        """Send a message that is written already."""
        problem = flat.check(text)
        if problem is not None:
            raise BadData(f"this message is not valid: {problem}")
        size = len(text.encode())
        if 0 < self._max_bytes < size:
            raise BadData(
                f"the message has {size} bytes; at most {self._max_bytes} may be sent",
                "limits.max_message_bytes is the limit.",
            )
        await self._sender.send(text)

    async def ask(self, content: str) -> FlatAnswer:
        """Say something and return the answer, the next `message` that comes."""
        return await self.request("message", content=content)

    async def request(self, message_type: str, **fields: Any) -> FlatAnswer:
        """Send a message and return what answers it. What comes before that is left out.

        Raises what the upstream's refusal stands for.
        """
        async with self._asking:
            await self.send(message_type, **fields)
            return await self.next_of(flat.ANSWERS[message_type])

    async def next_of(self, message_type: str) -> FlatAnswer:
        """The next message of a type. Plain text instead is a refusal, and raised."""
        async for received in self:
            text = received.text
            if isinstance(text, bytes):
                continue
            if received.head is None or received.head.type == "connection_error":
                raise self._refusal(received)
            if received.head.type == "status_update":
                self.on_status(received)
            if received.head.type == message_type:
                return FlatAnswer(text, content_of(text))
        raise ConnectionLost("The client was closed")

    def __aiter__(self) -> AsyncIterator[Received]:
        """Everything that comes after the greeting, exactly as it came."""
        return self._inbox.__aiter__()

    def _refusal(self, received: Received) -> MegabotError:
        """The error for plain text, or for what a relay says of the upstream behind it."""
        who = who_of(self._endpoint.address)
        if received.head is not None:
            return refusal_error(refusal_from(received.payload()), who)
        said = _ERROR.fullmatch(str(received.text).strip())
        if said is None:
            return refusal_error(Refusal(message=str(received.text)), who)
        code = int(said["code"]) if said["code"] else None
        return refusal_error(Refusal(code, "", said["words"]), who)

    # -- what happens to the connection ------------------------------------------------

    def _came_up(self, socket: Socket, greeting: Greeting) -> None:
        self.greeting = greeting.text
        self._sender.came_up(socket)

    def _went_down(self, loss: Loss) -> None:
        self._sender.went_down()

    def _end(self, fault: MegabotError) -> None:
        self._sender.give_up(fault)
        self._inbox.end(fault)


def content_of(text: str) -> str | None:
    """The `content` of a flat message, if it is text."""
    try:
        message = msgspec.json.decode(text)
    except UNREADABLE:
        return None
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) else None


def _never_retried(attempt: int, delay_s: float) -> None:
    raise AssertionError("without a schedule nothing is dialled again")
