"""`dedicated` mode: each client gets an upstream connection of its own.

Nothing is required of the upstream: any WebSocket server will do.
"""

from __future__ import annotations

import asyncio
import math

import structlog
from aiohttp import hdrs, web

from megabot_cli.client.dial import Dialed, hang_up
from megabot_cli.client.wire import HeardSocket
from megabot_cli.errors import MegabotError, NotAuthenticated, NotPermitted, RateLimited
from megabot_cli.listening.answers import json_line
from megabot_cli.protocol.close_codes import CloseCode
from megabot_cli.relay.dialling import dial_upstream
from megabot_cli.relay.pair import Pair
from megabot_cli.relay.parts import RelayParts

log = structlog.get_logger("relay")

# What a client says to the relay and not to the upstream.
OURS = frozenset({"token", "client_id", "cursor", "role", "profile"})


class Dedicated:
    """All pairs of one relay."""

    def __init__(self, parts: RelayParts) -> None:
        self._parts = parts
        self._pairs: set[Pair] = set()
        self._dialling = 0  # clients whose upstream is being dialled: they have their place
        self._draining = False
        self.fault: MegabotError | None = None  # why the last dial failed

    def __len__(self) -> int:
        """Clients that are let in, or will be once their upstream lets them."""
        return len(self._pairs) + self._dialling

    @property
    def waiting_bytes(self) -> int:
        return sum(pair.waiting_bytes for pair in self._pairs)

    @property
    def pairs(self) -> list[Pair]:
        return list(self._pairs)

    @property
    def idle(self) -> bool:
        return all(pair.idle for pair in self._pairs)

    async def try_upstream(self) -> MegabotError | None:
        """Dial once and hang up; says what was wrong, None when all was well. A refused credential
        is for `tell_refusal` to log."""
        try:
            dialed = await self._dial(None)
        except NotAuthenticated as refusal:
            return refusal
        except MegabotError as fault:
            log.warning("link.dial_failed", fault=fault.message, **self._parts.whose)
            return fault
        await hang_up(dialed.socket)
        return None

    def tell_refusal(self) -> None:
        """Log why nobody can be served."""
        if (fault := self.fault) is not None:
            hint = self._parts.hint_of(fault)
            log.error("link.refused", fault=fault.message, hint=hint, **self._parts.whose)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Dial for this client, and let the two talk until either has enough.

        The upstream is dialled before the client is let in, so that a refusal is the
        client's HTTP answer, and the subprotocol is the one the upstream chose.
        """
        if (wait_s := self._wait_s()) > 0:
            self._parts.numbers.refusals["upstream"] += 1
            return _not_now(self.fault, wait_s)
        self._dialling += 1
        try:
            response, pair = await self._let_in(request)
        finally:
            self._dialling -= 1
        if pair is not None:
            await self._join(pair)
        return response

    async def _let_in(self, request: web.Request) -> tuple[web.StreamResponse, Pair | None]:
        try:
            dialed = await self._dial(request)
        except MegabotError as fault:
            hint = self._parts.hint_of(fault)
            log.warning("client.not_joined", fault=fault.message, hint=hint, **self._parts.whose)
            self._parts.numbers.refusals["upstream"] += 1
            return _refused_by_upstream(fault, hint), None
        if self._draining:  # it began while the upstream was dialled
            await hang_up(dialed.socket, CloseCode.GOING_AWAY)
            self._parts.numbers.refusals["draining"] += 1
            return _refused("draining", "the relay is stopping", 503), None
        chosen = dialed.socket.protocol
        limits = self._parts.limits
        socket = HeardSocket(
            heartbeat=self._parts.settings.heartbeat_s,
            autoping=False,
            autoclose=False,
            max_msg_size=limits.max_message_bytes * 4,
            compress=False,
            decode_text=False,
            protocols=(chosen,) if chosen is not None else (),
        )
        transport = request.transport
        try:
            await socket.prepare(request)
        except ConnectionResetError:
            transport = None
        if transport is None or transport.is_closing():
            await hang_up(dialed.socket, CloseCode.GOING_AWAY)
            return socket if socket.prepared else web.Response(), None
        return socket, Pair(
            self._parts,
            socket,
            transport,
            dialed.socket,
            gzip=request.query.get("compression") == "gzip",
        )

    def _wait_s(self) -> float:
        """How long nobody dials: the upstream asks for that, or has just not been there."""
        parts = self._parts
        return parts.engine.dial_wait_s(parts.identity, parts.loop.time(), first=True)

    def _dial_ended(self, fault: MegabotError | None) -> None:
        """What the upstream has against one client's query is no reason to spare it others."""
        parts, after_s = self._parts, fault.retry_after_s if fault is not None else None
        if fault is None or fault.retryable or after_s is not None:
            parts.engine.dial_ended(
                parts.identity, parts.loop.time(), well=fault is None, retry_after_s=after_s
            )

    async def _join(self, pair: Pair) -> None:
        numbers = self._parts.numbers
        numbers.clients_accepted += 1
        self._pairs.add(pair)
        try:
            end = await pair.run()
        finally:
            self._pairs.discard(pair)
            numbers.link_up_s += pair.connected_s
        numbers.clients_closed[end.code] += 1

    async def _dial(self, request: web.Request | None) -> Dialed:
        query: dict[str, str] = {}
        protocols: list[str] = []
        if request is not None:
            query = {name: value for name, value in request.query.items() if name not in OURS}
            offered = ",".join(request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, []))
            protocols = [name.strip() for name in offered.split(",") if name.strip()]
        started_at = self._parts.loop.time()
        self._parts.numbers.dials += 1
        try:
            dialed = await dial_upstream(
                self._parts, transparent=True, query=query, protocols=protocols
            )
        except MegabotError as fault:
            self._parts.numbers.dial_faults[fault.code] += 1
            self.fault = fault
            self._dial_ended(fault)
            raise
        self._parts.numbers.handshake_s.observe(self._parts.loop.time() - started_at)
        self.fault = None
        self._dial_ended(None)
        return dialed

    def drain(self) -> None:
        """From now on nobody is let in, not even who waits for its upstream already."""
        self._draining = True

    def take_no_more(self) -> None:
        """What clients ask from now on is refused by id."""
        for pair in self._pairs:
            pair.take_no_more()

    async def stop(self) -> None:
        """Close all pairs with 1012, both sides."""
        pairs = list(self._pairs)
        await asyncio.gather(
            *(pair.close(CloseCode.SERVICE_RESTART, "the relay stops") for pair in pairs)
        )


def _refused(error: str, message: str, status: int) -> web.Response:
    return json_line({"error": error, "message": message, "code": status}, status)


def _not_now(fault: MegabotError | None, wait_s: float) -> web.Response:
    seconds = math.ceil(wait_s)
    why = fault.message if fault is not None else "the upstream asks to be left alone"
    message = f"{why}; it is not dialled for another {seconds} s"
    body = {"error": "upstream_unavailable", "message": message, "hint": None, "code": 503}
    return json_line(body, 503, {"Retry-After": str(seconds)})


def _refused_by_upstream(fault: MegabotError, hint: str | None) -> web.Response:
    status = 502
    headers = {}
    if isinstance(fault, RateLimited):
        status = 429
        if fault.retry_after_s:
            headers["Retry-After"] = str(max(1, round(fault.retry_after_s)))
    elif isinstance(fault, NotAuthenticated):
        status = 401
    elif isinstance(fault, NotPermitted):
        status = 403
    body = {"error": fault.code, "message": fault.message, "hint": hint, "code": status}
    return json_line(body, status, headers)
