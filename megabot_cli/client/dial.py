"""Open one connection to an upstream: TCP, TLS, upgrade and greeting under one deadline."""

from __future__ import annotations

import asyncio
import socket
import ssl as tls
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult

from megabot_cli.client import names
from megabot_cli.client.credentials import Credential
from megabot_cli.client.endpoint import Endpoint
from megabot_cli.client.login_requests import is_sendable, read_at_most, redirect_refused
from megabot_cli.client.network_faults import NETWORK_FAULTS, network_error
from megabot_cli.client.refusals import (
    LOG_IN,
    closed_error,
    connecting_error,
    read_refusal,
    refusal_from,
    refused_credential,
    retry_after_s,
    who_of,
)
from megabot_cli.client.trust import PinnedContext
from megabot_cli.config.schema import Dialect
from megabot_cli.errors import (
    CouldNotConnect,
    MegabotError,
    NotAuthenticated,
    UpstreamRefused,
)
from megabot_cli.protocol.close_codes import CloseCode, reason_bytes, sendable
from megabot_cli.protocol.envelope import peek

Socket = aiohttp.ClientWebSocketResponse[bool]

# permessage-deflate; gzip of long messages by `?compression=gzip`; nothing.
Compression = Literal["deflate", "gzip", "none"]

MOST_REFUSAL_BYTES = 16 * 1024
REFUSAL_BODY_LIMIT_S = 1.0
HANG_UP_LIMIT_S = 0.5

_DEFLATE_WINDOW_BITS = 15


class Greeting(msgspec.Struct, frozen=True):
    """The `connection_established` of a connection, or what a flat upstream says first."""

    session_id: str  # "" where the dialect has no sessions
    user_id: str | None
    capabilities: tuple[str, ...]
    text: str  # exactly as it came
    dialect: Dialect = "megabot"


class Dialed(msgspec.Struct):
    """An open connection; whoever has it closes it with `hang_up`."""

    socket: Socket
    greeting: Greeting | None


async def dial(
    http: aiohttp.ClientSession,
    endpoint: Endpoint,
    credential: Credential | None,
    *,
    session_id: str | None = None,
    user_id: str | None = None,
    platform: str | None = "cli",
    send_in: Literal["header", "query"] = "header",
    dialect: Dialect = "megabot",
    timeout_s: float = 10.0,
    heartbeat_s: float | None = 25.0,
    max_message_bytes: int = 1 << 20,
    compression: Compression = "deflate",
    await_greeting: bool = True,
    needs_name: bool = True,
    autoping: bool = True,
    autoclose: bool = True,
    query: Mapping[str, str] | None = None,
    protocols: Sequence[str] = (),
    ssl: tls.SSLContext | bool = True,
    socket_class: type[Socket] = aiohttp.ClientWebSocketResponse,
) -> Dialed:
    """Connect, and return when the upstream has greeted us. Text messages come as bytes.

    `timeout_s` is for everything together; `heartbeat_s` and `max_message_bytes` 0 mean
    none. Without `needs_name` a greeting that names no session will do: its `session_id` is "".
    `query` are further parameters, `protocols` subprotocols to offer, `socket_class`
    what the socket is; without `autoping` and `autoclose` whoever reads answers. Redirects are
    refused. Raises `NotAuthenticated`, `NotPermitted`, `RateLimited`, `UpstreamRefused` for a
    refusal and `CouldNotConnect` for no answer; no error holds the credential or the URL it
    went in.
    """
    given = {"session_id": session_id, "user_id": user_id, "platform": platform}
    given["compression"] = "gzip" if compression == "gzip" else None
    parameters = {**(query or {}), **{name: value for name, value in given.items() if value}}
    headers: dict[str, str] = {}
    if credential is not None:
        _check_sendable(credential, endpoint)
        if send_in == "query":
            parameters["token"] = credential.secret
        else:
            headers = _credential_headers(credential)
    secret = credential.secret if credential is not None else None
    door = _Door(endpoint.address, secret, dialect, needs_name=needs_name)
    try:
        async with asyncio.timeout(timeout_s):
            socket = await door.upgrade(
                http,
                endpoint.socket_url,
                socket_class,
                params=parameters,
                headers=headers,
                heartbeat=heartbeat_s or None,
                # aiohttp refuses a message of exactly the limit.
                max_msg_size=max_message_bytes + 1 if max_message_bytes else 0,
                compress=_DEFLATE_WINDOW_BITS if compression == "deflate" else 0,
                autoping=autoping,
                autoclose=autoclose,
                protocols=protocols,
                ssl=ssl,
            )
            if not await_greeting:
                return Dialed(socket, None)
            return Dialed(socket, await door.greeting(socket))
    except NETWORK_FAULTS as fault:
        raise network_error(fault, endpoint.address, timeout_s) from None


async def hang_up(
    socket: Socket,
    code: int = CloseCode.NORMAL,
    reason: str = "",
    *,
    limit_s: float = HANG_UP_LIMIT_S,
) -> None:
    """Close a connection within `limit_s`, whatever the peer does.

    aiohttp's own `close` waits anew with every message that a talkative peer still sends.
    """
    try:
        async with asyncio.timeout(limit_s):
            await socket.close(code=sendable(code), message=reason_bytes(reason))
    except TimeoutError:
        return  # aiohttp let go of the connection when the limit cancelled it


def connector_for(endpoint: Endpoint, ssl: tls.SSLContext | bool) -> aiohttp.BaseConnector:
    """The connector of an HTTP session that goes to this endpoint, with no limit of its own."""
    if endpoint.unix_path is not None:
        return aiohttp.UnixConnector(endpoint.unix_path, limit=0)
    if isinstance(ssl, PinnedContext):
        # The connector compares fingerprints; the context itself goes with each request.
        return aiohttp.TCPConnector(limit=0, ssl=aiohttp.Fingerprint(ssl.pin), resolver=_Resolver())
    return aiohttp.TCPConnector(limit=0, ssl=ssl, resolver=_Resolver())


class _Resolver(AbstractResolver):
    """aiohttp's own has the loop wait for its threads in the end, however long they take."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=kind, proto=0, flags=numeric
            )
            for kind, address in await names.look_up(host, port, family)
        ]

    async def close(self) -> None:
        """There is nothing to release."""


def _check_sendable(credential: Credential, endpoint: Endpoint) -> None:
    if credential.origin != endpoint.origin:
        raise refused_credential(credential, endpoint.origin)
    if not is_sendable(credential.secret):
        raise NotAuthenticated(
            "The credential is empty or holds characters that cannot be sent", LOG_IN
        )


def _credential_headers(credential: Credential) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {credential.secret}"}
    if credential.kind == "api_key":
        headers["X-API-Key"] = credential.secret
    return headers


class _Door:
    """The upstream's front door: what it says to us before we are in."""

    def __init__(
        self, address: str, secret: str | None, dialect: Dialect, *, needs_name: bool
    ) -> None:
        self._address = address
        self._who = who_of(address)
        self._secret = secret
        self._dialect = dialect
        self._needs_name = needs_name

    async def upgrade(
        self,
        http: aiohttp.ClientSession,
        url: str,
        socket_class: type[Socket],
        **options: Any,
    ) -> Socket:
        """`http`'s connector, but with refusals read and redirects refused.

        `ws_connect` has no `allow_redirects`: it would take our headers to wherever a
        redirect points. A session of its own for the one request has the say before that.
        """
        if http.closed:
            raise RuntimeError("the HTTP session is closed")
        async with aiohttp.ClientSession(
            connector=http.connector,
            connector_owner=False,
            trust_env=http.trust_env,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            middlewares=(self._admit_upgrade_only,),
            # Whether text is decoded is said below.
            ws_response_class=socket_class,  # type: ignore[arg-type]
        ) as session:
            socket: Socket = await session.ws_connect(url, decode_text=False, **options)
            return socket

    async def _admit_upgrade_only(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        response = await handler(request)
        if response.status == 101:
            return response
        try:
            raise await self._refused_upgrade(response)
        finally:
            response.close()

    async def _refused_upgrade(self, response: aiohttp.ClientResponse) -> MegabotError:
        status = response.status
        if 300 <= status < 400:
            return redirect_refused(status, self._address)
        if status < 300:
            return UpstreamRefused(
                f"{self._who} answered {status} instead of opening a WebSocket",
                "Check the path in the profile's url.",
            )
        try:
            async with asyncio.timeout(REFUSAL_BODY_LIMIT_S):
                body = await read_at_most(response, MOST_REFUSAL_BYTES)
        except (aiohttp.ClientError, TimeoutError):
            body = b""  # the status says enough
        refusal = msgspec.structs.replace(
            read_refusal(body, status), retry_after_s=retry_after_s(response.headers, time.time())
        )
        if status == 403 and self._dialect == "flat":
            refusal = msgspec.structs.replace(refusal, code=401)  # its word for a bad token
        if status in (400, 413):  # about the request to connect, not about a message
            words = refusal.message or refusal.error or "no WebSocket for this request"
            refusal = msgspec.structs.replace(refusal, code=None, message=f"{status}, {words}")
        hint = "Check the path in the profile's url." if status == 404 else None
        return connecting_error(refusal, self._who, secret=self._secret, hint=hint)

    async def greeting(self, socket: Socket) -> Greeting:
        """The first message. Leaves no connection behind when it is no greeting."""
        try:
            kind, data, extra = await socket.receive()
            return self._read_greeting(kind, data, extra)
        except BaseException:
            # Cancelled, refused or nonsense: either way nobody will use the connection.
            await hang_up(socket)
            raise

    def _read_greeting(self, kind: aiohttp.WSMsgType, data: Any, extra: str | None) -> Greeting:
        match kind:
            case aiohttp.WSMsgType.TEXT:
                return self._read_greeting_text(data)
            case aiohttp.WSMsgType.BINARY:
                raise self._no_greeting("a binary message")
            case aiohttp.WSMsgType.CLOSE:
                raise closed_error(data, extra or "", self._who, secret=self._secret)
            case aiohttp.WSMsgType.ERROR:
                raise self._no_greeting("data that breaks the WebSocket protocol")
            case _:
                raise CouldNotConnect(
                    f"{self._who} hung up before it greeted us",
                    "Is it a MegaBot endpoint? `megabot doctor` looks.",
                )

    def _read_greeting_text(self, data: bytes) -> Greeting:
        if self._dialect == "flat":
            return self._read_flat_greeting(data)
        head = peek(data)
        kind = head.type if head is not None else None
        try:
            text = data.decode()
            payload = msgspec.json.decode(text, type=_PayloadOnly).payload
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            payload = None
        if kind == "connection_error":
            raise connecting_error(refusal_from(payload), self._who, secret=self._secret)
        if kind != "connection_established":
            raise self._no_greeting("another message")
        if not isinstance(payload, dict):
            raise self._no_greeting("a connection_established that cannot be read")
        session_id = payload.get("session_id")
        if not isinstance(session_id, str):
            session_id = ""
        if self._needs_name and not session_id:
            raise self._no_greeting("a connection_established without a session_id")
        user_id, capabilities = payload.get("user_id"), payload.get("capabilities")
        return Greeting(
            session_id,
            user_id if isinstance(user_id, str) else None,
            tuple(word for word in capabilities if isinstance(word, str))
            if isinstance(capabilities, list)
            else (),
            text,
        )

    def _read_flat_greeting(self, data: bytes) -> Greeting:
        """A `message` of the upstream. A relay in between may have to say why there is none."""
        try:
            text = data.decode()
            refused = msgspec.json.decode(text, type=_RefusalOnly)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise self._no_greeting("something else", "a message") from None
        if refused.type == "connection_error":
            raise connecting_error(refusal_from(refused.payload), self._who, secret=self._secret)
        if refused.type != "message":
            raise self._no_greeting("another type", "a message")
        return Greeting("", None, (), text, "flat")

    def _no_greeting(
        self, instead: str, expected: str = "connection_established"
    ) -> UpstreamRefused:
        return UpstreamRefused(
            f"{self._who} did not begin with {expected} but with {instead}",
            "Is it a MegaBot endpoint?",
        )


class _PayloadOnly(msgspec.Struct):
    payload: Any = None


class _RefusalOnly(msgspec.Struct):
    type: Any = None
    payload: Any = None
