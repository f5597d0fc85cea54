"""The relay's HTTP and WebSocket routes: ask admission, then hand over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
import structlog
from aiohttp import web

from megabot_cli.client.tasks import TaskSet
from megabot_cli.client.wire import CAN_HEAR, HeardSocket
from megabot_cli.config.spelling import as_clause, did_you_mean
from megabot_cli.errors import BadData, MegabotError
from megabot_cli.listening.answers import Pages, can_upgrade, index, json_line, nothing_at
from megabot_cli.listening.doorkeeper import known
from megabot_cli.protocol.close_codes import CloseCode
from megabot_cli.recording.redaction import Redactor
from megabot_cli.recording.selection import Matcher, Selection
from megabot_cli.relay.admission import NO_TOKEN, Admission, Refusal, SocketOwners
from megabot_cli.relay.control import HEADER, Control
from megabot_cli.relay.corner import SUBPROTOCOL
from megabot_cli.relay.dedicated import Dedicated
from megabot_cli.relay.doors import peer_uid
from megabot_cli.relay.index import ADMIN_PAGES, CLIENT_PAGES
from megabot_cli.relay.local_client import CLOSE_S, Listening, LocalClient, Wishes
from megabot_cli.relay.parts import notice
from megabot_cli.relay.reading import Goodbye, read_all
from megabot_cli.relay.taps import Tap
from megabot_cli.wording import counted

if TYPE_CHECKING:
    from megabot_cli.relay.identity import Identity
    from megabot_cli.relay.server import Relay
    from megabot_cli.relay.session import Session

log = structlog.get_logger("relay")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Room above the limit, so that a message a little too long is answered and not cut off.
OVERSIZE_FACTOR = 4

MOST_NAME_LENGTH = 128  # of a client_id


class ClientRoutes:
    """`/ws` for clients and `/relay/tap` for watchers."""

    def __init__(
        self,
        identities: Mapping[str, Identity],
        main: Identity,
        admission: Admission,
        tasks: TaskSet,
        redactor: Redactor,
        tap_header: Callable[[], bytes],
        admin_url: Callable[[], str],
    ) -> None:
        self.clients: dict[str, LocalClient] = {}
        self.draining = False
        self._identities = identities
        self._main = main
        self._parts = main.parts  # for what all identities have in common
        self.admission = admission
        self._tasks = tasks
        self._redactor = redactor
        self._tap_header = tap_header
        self._admin_url = admin_url
        self._owners = SocketOwners()
        self._tap_sockets: dict[web.WebSocketResponse[bool], asyncio.Transport | None] = {}

    def app(self) -> web.Application:
        app = web.Application(middlewares=[known, self._admit])
        app.router.add_get("/ws", self.serve_client)
        app.router.add_get("/ws/{profile}", self.serve_client)
        app.router.add_get("/relay/tap", self.serve_tap)
        app.router.add_get("/", self.serve_index)
        return app

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = await self._judge(request)
        if refusal is None:
            return await _found(handler, request, CLIENT_PAGES)
        self._parts.numbers.refusals[refusal.reason] += 1
        log.warning("client.refused", reason=refusal.reason, why=refusal.message)
        return _refuse(refusal)

    async def _judge(self, request: web.Request) -> Refusal | None:
        rules = self.admission
        refusal = _judge_names(rules, request)
        if refusal is not None:
            return refusal
        has_token = rules.has_token(request.headers, request.query)
        uid = None if has_token else await _peer_uid(request, self._owners)
        return rules.judge_peer(uid, has_token=has_token)

    async def serve_index(self, _request: web.Request) -> web.Response:
        """For somebody who looks here: what there is."""
        about = "megabot relay: clients connect here"
        return index(about, CLIENT_PAGES, f"Health and numbers: {self._admin_url()}")

    # -- clients -------------------------------------------------------------------------

    async def serve_client(self, request: web.Request) -> web.StreamResponse:
        """Let one client talk to its session until either side has enough."""
        if self.draining:
            self._parts.numbers.refusals["draining"] += 1
            return _refuse(Refusal(503, "draining", "the relay is stopping"))
        named = request.match_info.get("profile") or request.query.get("profile")
        identity = self._identities.get(named) if named else self._main
        if identity is None:
            meant = as_clause(did_you_mean(named or "", self._identities))
            known = ", ".join(self._identities)
            text = f"this relay serves no profile {named!r}; {meant or f'it serves {known}'}"
            self._parts.numbers.refusals["unknown_profile"] += 1
            return _refuse(Refusal(404, "unknown_profile", text))
        if identity.dedicated is not None:
            return await self._serve_pair(request, identity.dedicated)
        if (length := len(request.query.get("client_id", ""))) > MOST_NAME_LENGTH:
            text = f"a client_id has at most {MOST_NAME_LENGTH} characters, and not {length}"
            self._parts.numbers.refusals["client_id"] += 1
            return _refuse(Refusal(400, "client_id", text))
        limits, settings = self._parts.limits, self._parts.settings
        socket = HeardSocket(
            heartbeat=settings.heartbeat_s,
            max_msg_size=limits.max_message_bytes * OVERSIZE_FACTOR,
            # Deflate on loopback costs 100 KiB a client and buys nothing.
            compress=False,
            decode_text=False,
            protocols=(SUBPROTOCOL,),
        )
        if not can_upgrade(socket, request):
            self._parts.numbers.refusals["upgrade"] += 1
            return _refuse(_no_upgrade(request))
        try:
            await socket.prepare(request)
        except ConnectionResetError:
            return web.Response()  # gone before it was greeted
        transport = request.transport
        if transport is None:
            return socket
        client = LocalClient(
            identity.parts, socket, transport, self._tasks, _wishes(request, socket)
        )
        asked_id = request.query.get("session_id") or None
        # Asked before a session is opened: who is turned away leaves no link behind.
        user_id, client_id = request.query.get("user_id") or None, client.wishes.client_id
        found = identity.sessions.find_for(asked_id, user_id, client_id)
        if (full := self._full(found, client_id)) is not None:
            await self._turn_away(socket, full)
            return socket
        platform = request.query.get("platform") or None
        session = identity.sessions.find_or_open(asked_id, user_id, platform, client_id)
        await self._converse(client, socket, session)
        return socket

    async def _serve_pair(self, request: web.Request, dedicated: Dedicated) -> web.StreamResponse:
        if not can_upgrade(web.WebSocketResponse(), request):
            self._parts.numbers.refusals["upgrade"] += 1
            return _refuse(_no_upgrade(request))
        limit = self._parts.settings.max_clients
        served = (each.dedicated for each in self._identities.values())
        if sum(len(each) for each in served if each is not None) >= limit:
            self._parts.numbers.refusals["full"] += 1
            return _refuse(
                Refusal(503, "full", f"{counted(limit, 'client')} may be connected at once")
            )
        return await dedicated.serve(request)

    async def _converse(self, client: LocalClient, socket: HeardSocket, session: Session) -> None:
        self.clients[client.id] = client
        self._parts.numbers.clients_accepted += 1
        client.log.info("client.opened", session=session.session_id)
        session.attach(client)
        goodbye = Goodbye()
        try:
            goodbye = await self._read(client, socket, session)
        finally:
            by = "relay" if client.close_sent is not None else "client"
            if client.close_sent is not None:
                goodbye = Goodbye(int(client.close_sent), client.close_reason)
            code = int(goodbye.code)
            del self.clients[client.id]
            session.detach(client, goodbye, by=by)
            client.outbox.close()
            self._parts.numbers.clients_closed[code] += 1
            client.log.info("client.closed", session=session.session_id, code=code, by=by)
        await socket.part()

    async def _read(
        self, client: LocalClient, socket: web.WebSocketResponse[bool], session: Session
    ) -> Goodbye:
        heartbeat, pulse = self._parts.heartbeat, None
        if CAN_HEAR and isinstance(socket, HeardSocket):
            listening = Listening(socket, client.outbox)
            pulse = heartbeat.watch(listening, client.ping, client.fell_silent)
        try:
            return await read_all(socket, session.sink(client), self._parts.witness, client.log)
        finally:
            if pulse is not None:
                heartbeat.forget(pulse)

    def _full(self, session: Session | None, client_id: str | None) -> str | None:
        """Why one more may not come to `session`, or to a new one."""
        settings = self._parts.settings
        if session is not None and client_id in session.roster.by_name:
            return None  # it takes the place of its old connection
        if len(self.clients) >= settings.max_clients:
            return f"{counted(settings.max_clients, 'client')} may be connected at once"
        # A shared link is no session that somebody chose: all clients of the relay are on it.
        if settings.mode == "shared":
            return None
        if session is not None and len(session.clients) >= settings.max_clients_per_session:
            return f"{counted(settings.max_clients_per_session, 'client')} may share one session"
        return None

    async def _turn_away(self, socket: web.WebSocketResponse[bool], why: str) -> None:
        self._parts.numbers.refusals["full"] += 1
        payload: dict[str, object] = {"error": "too_many_clients", "message": why, "code": 429}
        await socket.send_str(notice("connection_error", payload).decode())
        await socket.close(code=CloseCode.TOO_MANY_CLIENTS, message=why.encode())

    # -- taps ----------------------------------------------------------------------------

    async def serve_tap(self, request: web.Request) -> web.StreamResponse:
        """Show a watcher what it wants, as lines of the recording format.

        `?wanted=` is a `Selection` as JSON; without it all there is. Of that the quick part is
        asked here, the rest is the watcher's to ask: it must not keep messages waiting.
        """
        socket = web.WebSocketResponse(heartbeat=self._parts.settings.heartbeat_s, compress=False)
        if not can_upgrade(socket, request):
            self._parts.numbers.refusals["upgrade"] += 1
            return _refuse(Refusal(426, "upgrade", "a tap is a WebSocket: use `megabot tail`"))
        try:
            wanted = _wanted(request.query.get("wanted"))
        except MegabotError as fault:
            self._parts.numbers.refusals["wanted"] += 1
            return _refuse(Refusal(400, "wanted", fault.message))
        await socket.prepare(request)
        taps = self._parts.witness.taps
        tap = taps.open(self._redactor, wanted)
        self._tap_sockets[socket] = request.transport
        feeder = self._tasks.start(self._feed(socket, tap), "tap")
        try:
            async for _ in socket:  # a tap has nothing to say; this sees it leave
                continue
        finally:
            del self._tap_sockets[socket]
            taps.close(tap)
            feeder.cancel()
        return socket

    async def _feed(self, socket: web.WebSocketResponse[bool], tap: Tap) -> None:
        with suppress(ConnectionError):  # whoever watched has gone: `tap` sees it too
            await socket.send_str(self._tap_header().decode().rstrip("\n"))
            while not socket.closed:
                await tap.wait()
                for line in tap.take_lines():
                    await socket.send_str(line.decode().rstrip("\n"))

    async def close_taps(self) -> None:
        closing = (self._close_tap(*each) for each in self._tap_sockets.items())
        await asyncio.gather(*closing)

    async def _close_tap(
        self, socket: web.WebSocketResponse[bool], transport: asyncio.Transport | None
    ) -> None:
        """A watcher that has stopped reading holds nobody up."""
        try:
            with suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(CLOSE_S):
                    await socket.close(code=CloseCode.SERVICE_RESTART, message=b"the relay stops")
        finally:
            if transport is not None:
                transport.abort()


def _wanted(text: str | None) -> Matcher | None:
    """BadData or WrongUsage for what says no choice."""
    if text is None:
        return None
    try:
        wanted = msgspec.json.decode(text, type=Selection)
        wanted.matcher()  # all of it must be sound, also what is not asked here
        quick = wanted.quick_part().matcher()
        quick.prepare()
        return quick
    except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
        raise BadData(f"wanted= is no selection: {fault}") from None


class AdminRoutes:
    """`/healthz`, `/readyz` and `/metrics`, and what is under `/relay/`."""

    def __init__(
        self,
        relay: Relay,
        admission: Admission,
        health: Callable[[], tuple[bool, dict[str, object]]],
        ready: Callable[[], tuple[bool, dict[str, object]]],
        metrics: Callable[[], bytes],
    ) -> None:
        self.admission = admission
        self._relay = relay
        self._health = health
        self._ready = ready
        self._metrics = metrics
        self._owners = SocketOwners()

    def app(self) -> web.Application:
        app = web.Application(middlewares=[known, self._admit])
        app.router.add_get("/", self.serve_index)
        app.router.add_get("/healthz", self.serve_health)
        app.router.add_get("/readyz", self.serve_ready)
        app.router.add_get("/metrics", self.serve_metrics)
        Control(self._relay, self._may_see, self._may_do).add_to(app.router)
        return app

    async def _may_see(self, request: web.Request) -> web.Response | None:
        """Who is connected, and on which session, is for whoever may connect. A scraper of
        another user gets the numbers, which name nobody."""
        has_token = self.admission.has_token(request.headers, {})
        uid = None if has_token else await _peer_uid(request, self._owners)
        refusal = self.admission.judge_peer(uid, has_token=has_token)
        return self._turn_away(refusal) if refusal is not None else None

    def _may_do(self, request: web.Request) -> web.Response | None:
        """What changes something wants the client token and a header no page can send."""
        refusal = None
        if request.headers.get(HEADER) is None:
            refusal = Refusal(403, "header", f"send the header {HEADER}: 1")
        elif not self.admission.has_token(request.headers, {}):
            refusal = NO_TOKEN
        return self._turn_away(refusal) if refusal is not None else None

    def _turn_away(self, refusal: Refusal) -> web.Response:
        self._relay.numbers.refusals[refusal.reason] += 1
        log.warning("request.refused", reason=refusal.reason, why=refusal.message)
        return _refuse(refusal)

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = _judge_names(self.admission, request)
        if refusal is not None:
            return self._turn_away(refusal)
        return await _found(handler, request, ADMIN_PAGES)

    async def serve_index(self, _request: web.Request) -> web.Response:
        """For somebody who looks here: what there is."""
        about = f"megabot relay {self._relay.version}, for its operator"
        return index(about, ADMIN_PAGES, f"Clients connect to {self._relay.url}")

    async def serve_health(self, _request: web.Request) -> web.Response:
        """200 while the process does its work; `status` says when only in part."""
        return _answer(*self._health())

    async def serve_ready(self, _request: web.Request) -> web.Response:
        """200 while new clients can be served."""
        return _answer(*self._ready())

    async def serve_metrics(self, _request: web.Request) -> web.Response:
        content_type = "text/plain; version=0.0.4; charset=utf-8"
        return web.Response(body=self._metrics(), headers={"Content-Type": content_type})


def _no_upgrade(request: web.Request) -> Refusal:
    """What to say where there is no WebSocket: none was asked for, or not as RFC 6455 has it."""
    if request.headers.get("Upgrade", "").lower() != "websocket":
        return Refusal(426, "upgrade", "this address speaks WebSocket: connect to /ws")
    return Refusal(
        400,
        "upgrade",
        "the WebSocket handshake is malformed: it needs a GET, `Connection: Upgrade`, "
        "`Sec-WebSocket-Version: 13` and a `Sec-WebSocket-Key` of 16 bytes in base64",
    )


def _judge_names(rules: Admission, request: web.Request) -> Refusal | None:
    """Host and every Origin: of two headers of one name the other one must not slip by."""
    refusal = rules.judge_host(request.headers.get("Host"))
    for origin in request.headers.getall("Origin", []):
        refusal = refusal or rules.judge_origin(origin)
    return refusal


async def _peer_uid(request: web.Request, owners: SocketOwners) -> int | None:
    """Whose program asks; None where that cannot be known."""
    transport = request.transport
    if transport is None:
        return None
    uid = peer_uid(transport)
    if uid is not None:
        return uid
    local, peer = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
    if not isinstance(local, tuple) or not isinstance(peer, tuple):
        return None
    return await owners.uid((local[0], local[1]), (peer[0], peer[1]))


def _wishes(request: web.Request, socket: web.WebSocketResponse[bool]) -> Wishes:
    query = request.query
    return Wishes(
        client_id=query.get("client_id") or None,
        cursor=query.get("cursor") or None,
        executor=query.get("role") == "executor",
        corner=socket.ws_protocol == SUBPROTOCOL,
    )


async def _found(handler: Handler, request: web.Request, pages: Pages) -> web.StreamResponse:
    """What the handler gives, or where else to look."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        body = {"error": "not_found", "message": nothing_at(request.path, pages), "code": 404}
        return json_line(body, 404)
    except web.HTTPMethodNotAllowed as fault:
        text = f"{request.path} takes {' or '.join(sorted(fault.allowed_methods))}"
        body = {"error": "method_not_allowed", "message": text, "code": 405}
        return json_line(body, 405, {"Allow": fault.headers["Allow"]})
    except web.HTTPRequestEntityTooLarge as fault:
        return json_line({"error": "too_large", "message": fault.text, "code": 413}, 413)


def _answer(good: bool, facts: dict[str, object]) -> web.Response:
    return json_line(facts, 200 if good else 503, {"Cache-Control": "no-store"})


def _refuse(refusal: Refusal) -> web.Response:
    body = {"error": refusal.reason, "message": refusal.message, "code": refusal.status}
    headers = {"Upgrade": "websocket"} if refusal.status == 426 else None
    return json_line(body, refusal.status, headers)
