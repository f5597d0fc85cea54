"""A gateway and a relay in this process, on free ports, and what a client does with them."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest
from yarl import URL

from megabot_cli.client.credentials import Credential
from megabot_cli.client.endpoint import parse_endpoint
from megabot_cli.client.tokens import TokenSource
from megabot_cli.config.schema import (
    Dialect,
    GatewaySettings,
    IntegritySettings,
    LimitSettings,
    ProfileSettings,
    RecordingSettings,
    RelaySettings,
)
from megabot_cli.gateway.accounts import Users
from megabot_cli.gateway.keys import Keys
from megabot_cli.gateway.ledger import Ledger
from megabot_cli.gateway.server import Gateway
from megabot_cli.relay.identity import Served
from megabot_cli.relay.operations import Dumps, ReadSettings
from megabot_cli.relay.server import Relay
from megabot_cli.storage.recorder import Recorder
from tests.support.ports import kept_port
from tests.support.upstream import ScriptedUpstream

if TYPE_CHECKING:
    from tests.relay.executors import Calling

CHEAP_HASH = 2**4
LIMIT_S = 15.0  # for what must come: a loaded machine with two cores


async def until(condition: Callable[[], Any], limit_s: float = LIMIT_S) -> None:
    """Return when `condition` is true; fail when it never becomes so."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110  the condition is another object's state
            await asyncio.sleep(0.005)


class Peer:
    """One local program: sends text and reads messages."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse[bool]) -> None:
        self.socket = socket

    async def send(self, kind: str, message_id: str, **payload: object) -> None:
        await self.socket.send_str(
            json.dumps({"id": message_id, "type": kind, "payload": payload, "timestamp": 0})
        )

    async def text(self, limit_s: float = LIMIT_S) -> str:
        message = await self.socket.receive(timeout=limit_s)
        assert message.type is aiohttp.WSMsgType.TEXT, message
        return str(message.data)

    async def message(self, kind: str | None = None, limit_s: float = LIMIT_S) -> dict[str, Any]:
        """The next message, or the next of `kind`."""
        async with asyncio.timeout(limit_s):
            while True:
                message: dict[str, Any] = json.loads(await self.text(limit_s))
                if kind is None or message["type"] == kind:
                    return message

    async def close_code(self, limit_s: float = LIMIT_S) -> int | None:
        async with asyncio.timeout(limit_s):
            while not self.socket.closed:
                await self.socket.receive()
        return self.socket.close_code


class Stage:
    """Everything one test has on the go; all of it ends with the test."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self.keys = Keys.in_memory()
        self.users = Users.in_memory(cost=CHEAP_HASH)
        self.user = self.users.add("ada", "a-password")
        self.api_key = self.users.add_api_key("ada")
        self.http: aiohttp.ClientSession
        self._data: dict[int, Path] = {}  # by the port of its gateway

    async def open_gateway(self, port: int = 0, **settings: Any) -> Gateway:
        """On a port where one was before it knows the sessions of that one."""
        port = port or self._stack.enter_context(kept_port())
        folder = self._data.get(port) or self.folder / f"gateway-{len(self._data)}"
        gateway = Gateway(
            GatewaySettings(
                **{
                    "listen": f"127.0.0.1:{port}",
                    "latency_s": 0.0,
                    "chunk_delay_s": 0.0,
                    **settings,
                }
            ),
            LimitSettings(messages_per_second=0),
            self.users,
            keys=self.keys,
            ledger=Ledger.open(folder),
        )
        await gateway.start()
        self._data[gateway.port] = folder
        return gateway

    def forget_all(self, port: int) -> None:
        """A gateway that was stopped comes back there without its sessions."""
        shutil.rmtree(self._data[port])

    def served(
        self,
        name: str,
        url: str,
        *,
        secret: str | None = None,
        anonymous: bool = False,
        dialect: Dialect = "megabot",
        integrity: IntegritySettings | None = None,
    ) -> Served:
        """A profile with an API key, the one of this stage's user if not another."""
        endpoint = parse_endpoint(url)
        key = secret or self.api_key
        credential = None
        if not anonymous:
            credential = Credential(kind="api_key", secret=key, origin=endpoint.origin)

        def open_tokens(http: aiohttp.ClientSession) -> TokenSource:
            return TokenSource(http, endpoint, credential=credential)

        profile = ProfileSettings(url=url, dialect=dialect)
        if integrity is not None:
            profile = msgspec.structs.replace(profile, integrity=integrity)
        return Served(name, profile, open_tokens)

    async def open_relay(
        self,
        url: str,
        *,
        secret: str | None = None,
        limits: LimitSettings | None = None,
        record: bool | RecordingSettings = False,
        apart: bool = False,
        anonymous: bool = False,
        dumps: Dumps | None = None,
        read_settings: ReadSettings | None = None,
        dialect: Dialect = "megabot",
        integrity: IntegritySettings | None = None,
        also: Sequence[Served] = (),
        **settings: Any,
    ) -> Relay:
        endpoint = parse_endpoint(url)
        main = self.served(
            "test",
            url,
            secret=secret or self.api_key,
            anonymous=anonymous,
            dialect=dialect,
            integrity=integrity,
        )
        recorder = None
        if record:
            recorder = Recorder(
                self.folder / "recordings",
                record if isinstance(record, RecordingSettings) else RecordingSettings(),
                tool="megabot test",
                upstream=endpoint.origin,
                apart=apart,
            )
        relay = Relay(
            RelaySettings(
                **{
                    "listen": "127.0.0.1:0",
                    "admin_listen": "127.0.0.1:0",
                    "drain_s": 2.0,
                    **settings,
                }
            ),
            limits or LimitSettings(messages_per_second=0),
            served=[main, *also],
            client_token="the-client-token",
            version="test",
            recorder=recorder,
            dumps=dumps,
            read_settings=read_settings,
        )
        await relay.start()
        self._stack.push_async_callback(relay.stop)
        return relay

    async def connect(
        self,
        url: str,
        session: str | None = None,
        query: dict[str, str] | None = None,
        **options: Any,
    ) -> Peer:
        asked = {**({"session_id": session} if session is not None else {}), **(query or {})}
        url = str(URL(url).with_query(asked))
        socket = await self.http.ws_connect(url, max_msg_size=0, **options)
        self._stack.push_async_callback(socket.close)
        return Peer(socket)

    async def greeted(self, url: str, session: str | None = None, **query: str) -> tuple[Peer, str]:
        peer = await self.connect(url, session, query)
        greeting = await peer.message("connection_established")
        return peer, str(greeting["payload"]["session_id"])


@asynccontextmanager
async def open_stage(folder: Path) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        stage = Stage(folder, stack)
        connector = aiohttp.TCPConnector(limit=0)
        stage.http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        yield stage


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path) as stage:
        yield stage


@pytest.fixture
async def gateway(stage: Stage) -> AsyncIterator[Gateway]:
    gateway = await stage.open_gateway()
    yield gateway
    await gateway.stop()


@pytest.fixture
async def calling() -> AsyncIterator[tuple[Calling, ScriptedUpstream]]:
    """An upstream that calls tools when told to."""
    from tests.relay.executors import Calling  # it needs what stands here

    script = Calling()
    async with ScriptedUpstream(script) as upstream:
        yield script, upstream


async def hears_nothing(peer: Peer, for_s: float = 0.15) -> bool:
    """Whether nothing arrives for a while."""
    try:
        message = await peer.socket.receive(timeout=for_s)
    except TimeoutError:
        return True
    raise AssertionError(message)


def enveloped(kind: str, message_id: str, **payload: object) -> dict[str, object]:
    return {"id": message_id, "type": kind, "payload": payload, "timestamp": 0}


SIGNING_KEY = b"a key of more than sixteen bytes"


def signing(folder: Path) -> IntegritySettings:
    """The settings of a profile that signs with `SIGNING_KEY`."""
    file = folder / "signing-key"
    file.write_bytes(SIGNING_KEY)
    file.chmod(0o600)
    return IntegritySettings(key_file=str(file))
