"""Gateways, upstreams that say what they are told to, and recordings of talks with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from megabot_cli.client.connection import MegaBotClient
from megabot_cli.config.schema import GatewaySettings, LimitSettings, RecordingSettings
from megabot_cli.gateway.accounts import Users
from megabot_cli.gateway.assistants.interface import Assistant
from megabot_cli.gateway.keys import Keys
from megabot_cli.gateway.server import Gateway
from megabot_cli.recording.format_v1 import Header, encode_header, encode_record
from megabot_cli.recording.record import Record
from megabot_cli.replay.lane import NewClient
from megabot_cli.replay.player import Replay
from megabot_cli.storage.recorder import Recorder
from tests.replay.texts import message


class Endpoint:
    """Where to connect, and with what."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self.url = url
        self.api_key = api_key

    def new_client(self, name: str, session_id: str | None) -> MegaBotClient:
        return MegaBotClient(
            self.url,
            api_key=self.api_key,
            session_id=session_id,
            messages_per_second=0,
            reconnect=None,
            platform=name,
        )


OpenGateway = Callable[..., Any]


@pytest.fixture
async def open_gateway() -> AsyncIterator[OpenGateway]:
    """Starts gateways without limits or pauses, and with another assistant if one is given."""
    async with AsyncExitStack() as cleanup:

        async def start(assistant: Assistant | None = None) -> Endpoint:
            users = Users.in_memory(cost=2)
            users.add("ada", "lovelace")
            gateway = Gateway(
                GatewaySettings(listen="127.0.0.1:0", latency_s=0, chunk_delay_s=0),
                LimitSettings(messages_per_second=0.0),
                users,
                keys=Keys.in_memory(),
                assistant=assistant,
            )
            await gateway.start()
            cleanup.push_async_callback(gateway.stop)
            return Endpoint(gateway.url, users.add_api_key("ada"))

        yield start


class Upstream:
    """Greets, keeps what it hears in order, and says what `answer` makes of it."""

    def __init__(self) -> None:
        self.heard: list[str | bytes] = []
        self.joined: list[str | None] = []
        self.here = 0
        self.most_here = 0
        self.answer: Callable[[str | bytes], list[str]] = lambda text: []
        self.says_every_s: float | None = None  # to everybody, whatever it is asked

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        session = request.query.get("session_id")
        self.joined.append(session)
        session = session or f"sess_{len(self.joined)}"
        await socket.send_str(message("connection_established", {"session_id": session}))
        self.here += 1
        self.most_here = max(self.here, self.most_here)
        async with asyncio.TaskGroup() as tasks:
            talk = tasks.create_task(self._talk(socket))
            await self._listen(socket)
            talk.cancel()
        self.here -= 1
        return socket

    async def _listen(self, socket: web.WebSocketResponse) -> None:
        async for said in socket:
            if said.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                self.heard.append(said.data)
                for text in self.answer(said.data):
                    await socket.send_str(text)

    async def _talk(self, socket: web.WebSocketResponse) -> None:
        while self.says_every_s is not None and not socket.closed:
            await asyncio.sleep(self.says_every_s)
            await socket.send_str(message("notification", {"title": "news"}))

    async def until_heard(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.heard) < count:  # noqa: ASYNC110  somebody else appends
                await asyncio.sleep(0.005)


async def waiting_to_send(replay: Replay) -> None:
    """Return when a message waits for its time."""
    async with asyncio.timeout(10):
        while not any(not apart for apart, _ in replay.transport._waiting.values()):  # noqa: ASYNC110  it says nothing of it
            await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(upstream: Upstream) -> AsyncIterator[Endpoint]:
    """The upstream at a port of its own."""
    app = web.Application()
    app.router.add_get("/ws", upstream.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield Endpoint(f"ws://127.0.0.1:{port}/ws")
    await runner.cleanup()


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[Upstream, Endpoint]]:
    made = Upstream()
    async with serving(made) as endpoint:
        yield made, endpoint


class Taped:
    """A client whose talk is recorded, as a relay would."""

    def __init__(self, name: str, client: MegaBotClient, recorder: Recorder) -> None:
        self.name = name
        self._client = client
        self._recorder = recorder

    async def say(self, text: str | bytes) -> None:
        self._put("to_upstream", text, client=self.name)
        await self._client.send_text(text)

    async def hear(self, until: str = "chat_receive") -> None:
        """Record what comes, up to a message of this type."""
        async with asyncio.timeout(10):
            async for received in self._client:
                self._put("to_client", received.text)
                if received.head is not None and received.head.type == until:
                    return

    def _put(self, direction: str, text: str | bytes, client: str | None = None) -> None:
        from megabot_cli.protocol.envelope import peek

        head = peek(text)
        self._recorder.put(
            "message",
            direction=direction,
            client=client,
            link=f"link of {self.name}",
            session=self._client.session_id,
            id=head.id if head else None,
            type=head.type if head else None,
            reply_to=head.reply_to if head else None,
            opcode="binary" if isinstance(text, bytes) else None,
            data=text,
        )


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    made = Recorder(tmp_path, RecordingSettings(), tool="megabot test", upstream="ws://u/ws")
    made.start()
    yield made
    made.close()


@pytest.fixture
async def tape(recorder: Recorder) -> AsyncIterator[Callable[..., Any]]:
    """Connects a client whose talk goes into `recorder`."""
    async with AsyncExitStack() as cleanup:

        async def connect(endpoint: Endpoint, name: str = "client_1") -> Taped:
            client = await cleanup.enter_async_context(endpoint.new_client(name, None))
            return Taped(name, client, recorder)

        yield connect


def write_recording(path: Path, records: list[Record]) -> Path:
    """An unclean recording of exactly these records."""
    header = Header(recording="rec_1", started_at="2026-11-23T04:12:09Z", upstream="ws://u/ws")
    path.write_bytes(encode_header(header) + b"".join(map(encode_record, records)))
    return path


def never(name: str, session_id: str | None) -> MegaBotClient:
    raise AssertionError("nothing was to be sent")


NEVER: NewClient = never
