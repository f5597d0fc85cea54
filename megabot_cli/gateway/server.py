"""MegaBot's endpoint in this process: start it, use its url, stop it."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import os
import time
from typing import TYPE_CHECKING

import structlog
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from megabot_cli.client.tasks import TaskSet
from megabot_cli.config.listen import parse_listen
from megabot_cli.config.schema import GatewaySettings, LimitSettings, OutboxSettings
from megabot_cli.errors import BadConfiguration
from megabot_cli.gateway import outgoing, routes
from megabot_cli.gateway.accounts import Users
from megabot_cli.gateway.admission import Admission, Admitted, CredentialRefused
from megabot_cli.gateway.assistants.choice import open_assistant
from megabot_cli.gateway.assistants.interface import Assistant
from megabot_cli.gateway.connection import GOODBYE_S, Connection
from megabot_cli.gateway.cross_origin import cross_origin, preflight
from megabot_cli.gateway.deflating import DeflatingSocket
from megabot_cli.gateway.handlers import Handlers
from megabot_cli.gateway.keys import Keys
from megabot_cli.gateway.ledger import Ledger
from megabot_cli.gateway.parameters import Parameters
from megabot_cli.gateway.recorded_answers import RecordedAnswers
from megabot_cli.gateway.sessions import Session, SessionTable
from megabot_cli.gateway.signatures import Signing, open_signing
from megabot_cli.gateway.throttle import LoginThrottle
from megabot_cli.gateway.workspace import Workspaces
from megabot_cli.listening.answers import can_upgrade
from megabot_cli.listening.doorkeeper import KEEPER, Doorkeeper, known
from megabot_cli.listening.unreadable import protocols_of
from megabot_cli.protocol.close_codes import CloseCode, reason_bytes

if TYPE_CHECKING:
    from megabot_cli.gateway.scenarios.stage import Stage

# A message somewhat too long is read, to be refused by name (413); beyond this the
# connection is closed (1009). aiohttp's own limit is also off by one.
_READ_BEYOND_LIMIT_BYTES = 64 * 1024
_LONGEST_SWEEP_S = 60.0
_BACKLOG = 512
CHECKPOINT_S = 5.0
PUT_DOWN_S = 0.5  # what waits for delivery is on disk after so long, for a kill -9 to find
_LEFTOVERS_S = 0.1  # when stopping: for requests that are still being answered

# Twice what a backlog holds, so that a client that resumes can be handed all of it.
OUTBOX = OutboxSettings(messages=2000, bytes=8 * 1024 * 1024)

log = structlog.get_logger()


class Gateway:
    """Login, sockets, sessions and an assistant on one port.

    What `ledger` keeps survives a restart; it is closed by `stop`. `users` and `keys` are
    opened by the caller. With `recorded`, a recording answers in the assistant's
    place. An object serves once: start, then stop.
    """

    connection_type: type[Connection] = Connection

    def __init__(
        self,
        settings: GatewaySettings,
        limits: LimitSettings,
        users: Users,
        *,
        keys: Keys,
        assistant: Assistant | None = None,
        ledger: Ledger | None = None,
        outbox: OutboxSettings = OUTBOX,
        heartbeat_s: float | None = 25.0,
        throttle: LoginThrottle | None = None,
        recorded: RecordedAnswers | None = None,
    ) -> None:
        self._settings = settings
        self._limits = limits
        self._users = users
        self._keys = keys
        self._assistant = assistant or open_assistant(settings)
        self._ledger = ledger or Ledger.open(None)
        self._outbox = outbox
        self._heartbeat_s = heartbeat_s
        self._recorded = recorded
        self._throttle = throttle or LoginThrottle(time.monotonic())
        self._signing: Signing | None = None
        self._stage: Stage | None = None
        self._numbers = itertools.count(1)
        self._admission = Admission(users, keys)
        self._tasks = TaskSet()
        self._handlers = Handlers(Workspaces(), self._tasks, limits.max_message_bytes)
        self._connections: dict[Connection, Admitted] = {}
        self._address: tuple[str, int] | None = None
        self._serving = False

    @property
    def host(self) -> str:
        return self._bound()[0]

    @property
    def port(self) -> int:
        return self._bound()[1]

    @property
    def url(self) -> str:
        """Where sockets are, e.g. `ws://127.0.0.1:3000/ws`."""
        return f"ws://{self._authority()}/ws"

    @property
    def http_url(self) -> str:
        return f"http://{self._authority()}"

    @property
    def connection_count(self) -> int:
        return len(self._connections)

    @property
    def session_count(self) -> int:
        return len(self._sessions)

    async def start(self) -> None:
        """Listen. Raises BadConfiguration when the address cannot be had."""
        host, port = parse_listen(self._settings.listen)
        self._signing = open_signing(self._settings.integrity)
        self._stage = self._open_stage()
        self._sessions = SessionTable(
            self._make_session,
            self._ledger,
            lifetime_s=self._settings.session_lifetime_s,
            clock=time.monotonic,
            wall=time.time,
        )
        self._keeper = Doorkeeper(
            deadline_s=self._settings.header_deadline_s,
            most_unknown=self._settings.max_unknown,
            on_turned_away=lambda _: None,  # the log has it
        )
        app = self._application()
        app[KEEPER] = self._keeper
        app.middlewares.insert(0, known)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_LEFTOVERS_S)
        await self._runner.setup()
        try:
            self._keeper.make = protocols_of(self._runner)
            loop = asyncio.get_running_loop()
            self._listener = await loop.create_server(
                self._keeper.open, host, port, backlog=_BACKLOG
            )
        except OSError as fault:
            await self._runner.cleanup()
            self._ledger.close()
            # asyncio puts the address into its words; it is in ours already.
            reason = os.strerror(fault.errno) if fault.errno else str(fault)
            raise BadConfiguration(
                f"The gateway cannot listen on {self._settings.listen}: {reason}.",
                "Stop what listens there, or choose another address: `gateway --listen`, or "
                "gateway.listen (MEGABOT_GATEWAY_LISTEN=:0 takes a free port).",
            ) from fault
        self._address = self._listener.sockets[0].getsockname()[:2]
        self._serving = True
        self._tasks.start(self._sweep(), "gateway sweep")
        if self._ledger.kept:
            self._tasks.start(self._put_down(), "gateway put down")
        if self._stage is not None:
            self._tasks.start(self._stage.watch(), "gateway scenario watch")
        log.info("gateway.started", url=self.url)
        if not ipaddress.ip_address(self.host).is_loopback:
            log.warning("gateway.exposed", url=self.url, note="without TLS, beyond this machine")

    async def stop(self, code: CloseCode = CloseCode.SERVICE_RESTART) -> None:
        """Close every connection with `code`, end all work, free the port: within a second.

        Where nothing was started, or all was stopped already, it does nothing.
        """
        if not self._serving:
            return
        self._serving = False
        self._listener.close()
        self._keeper.stop()
        await self._tasks.stop()
        open_still = list(self._connections)
        async with asyncio.TaskGroup() as goodbyes:
            for connection in open_still:
                goodbyes.create_task(connection.close(code, "the gateway stops"))
        for connection in open_still:
            await connection.ended.wait()
        await self._runner.cleanup()
        await self._tasks.stop()
        self._sessions.put_down()
        self._ledger.close()
        log.info("gateway.stopped")

    async def drop_all(self) -> None:
        """Break every connection as a cut line would, and return when all are gone."""
        dropped = list(self._connections)
        for connection in dropped:
            connection.abort()
        for connection in dropped:
            await connection.ended.wait()

    def _open_stage(self) -> Stage | None:
        if self._settings.scenario is None:
            return None
        if self._recorded is not None:
            raise BadConfiguration(
                "A gateway answers from a recording or by a scenario, not both",
                "Leave --scenario (gateway.scenario) out, or --from-recording.",
            )
        from megabot_cli.gateway.scenarios.stage import Stage  # few gateways need it

        return Stage.open(self._settings.scenario)

    def _application(self) -> web.Application:
        app = web.Application(
            middlewares=[cross_origin(self._settings.allowed_origins), routes.errors_as_json],
            client_max_size=routes.MOST_BODY_BYTES,
        )
        tokens = routes.TokenRoutes(
            self._users,
            self._keys,
            self._ledger,
            self._settings,
            self._throttle,
            self._stage.login if self._stage is not None else None,
        )
        for path, handler in (("login", tokens.login), ("refresh", tokens.refresh)):
            app.router.add_post(f"/api/auth/{path}", handler)
            app.router.add_options(f"/api/auth/{path}", preflight)
        app.router.add_get("/", routes.serve_index(routes.PAGES))
        app.router.add_get("/healthz", routes.healthz)
        app.router.add_get("/ws", self._serve_socket, allow_head=False)
        return app

    async def _serve_socket(self, request: web.Request) -> web.StreamResponse:
        limit = self._limits.max_message_bytes
        socket = DeflatingSocket(
            timeout=GOODBYE_S,
            autoping=False,
            heartbeat=self._heartbeat_s,
            compress=True,
            max_msg_size=limit + _READ_BEYOND_LIMIT_BYTES if limit else 0,
            # Flow control is the outbox's; aiohttp's own would make a plain write wait.
            writer_limit=2**62,
            decode_text=False,
        )
        if not can_upgrade(socket, request):
            raise routes.Refused(
                426,
                "upgrade_required",
                "This address speaks WebSocket (version 13) only",
                Upgrade="websocket",
                Sec_WebSocket_Version="13",
            )
        if self._stage is not None:
            await self._play_connect(self._stage, request)
        writer = await socket.prepare(request)
        try:
            admitted = self._admission.admit(request)
        except CredentialRefused as fault:
            await _turn_away(socket, str(fault))
            return socket
        transport = request.transport
        if transport is not None:
            await self._serve(request, admitted, socket, transport, writer)
        return socket

    async def _play_connect(self, stage: Stage, request: web.Request) -> None:
        """What the scenario does before the upgrade. Raises Refused."""
        try:
            user = self._admission.admit(request).user
        except CredentialRefused:
            user = None  # refused below, after the upgrade, unless the scenario comes first
        forgotten = await stage.connect(request, user.name if user else "")
        if forgotten and user is not None:
            self._sessions.forget(request.query.get("session_id", ""), user.user_id)

    async def _serve(
        self,
        request: web.Request,
        admitted: Admitted,
        socket: DeflatingSocket,
        transport: asyncio.Transport,
        writer: AbstractStreamWriter,
    ) -> None:
        user = admitted.user
        asked = Parameters.of(request.query)
        session, resumed = self._sessions.open(asked.session_id, user.user_id)
        connect = self.connection_type if self._recorded is None else self._recorded.connection
        connection = connect(
            user,
            session,
            socket,
            transport,
            writer.drain,
            limits=self._limits,
            outbox=self._outbox,
            handlers=self._handlers,
            tasks=self._tasks,
            parameters=asked,
            until=admitted.until,
            signing=self._signing,
            stage=self._stage,
            number=next(self._numbers),
            open_session=lambda: self._sessions.open(None, user.user_id)[0],
        )
        self._connections[connection] = admitted
        facts = log.bind(user=user.name, session=session.session_id)
        facts.info(
            "connection.opened",
            resumed=resumed,
            platform=asked.platform_name or "?",
            claims_another_user=asked.user_id not in ("", user.user_id, user.name),
        )
        try:
            await connection.run()
        finally:
            del self._connections[connection]
            connection.ended.set()
            self._sessions.note_use(connection.session)
            facts.info("connection.closed", code=connection.close_code)

    def _make_session(self, session_id: str, user_id: str) -> Session:
        make = Session if self._recorded is None else self._recorded.session
        return make(
            session_id,
            user_id,
            self._assistant,
            self._tasks,
            self._outbox,
            time.monotonic(),
        )

    async def _sweep(self) -> None:
        period_s = min(_LONGEST_SWEEP_S, self._settings.session_lifetime_s / 4)
        while True:
            await asyncio.sleep(period_s)
            while self._sessions.expire():  # noqa: ASYNC110  others have their turn between
                await asyncio.sleep(0)

    async def _put_down(self) -> None:
        checkpoint_at = time.monotonic() + CHECKPOINT_S
        while True:
            await asyncio.sleep(PUT_DOWN_S)
            self._sessions.put_down()
            if time.monotonic() >= checkpoint_at:
                await asyncio.to_thread(self._ledger.checkpoint)
                checkpoint_at = time.monotonic() + CHECKPOINT_S
            if self._ledger.changed_elsewhere():
                self._users.reload()
                self._dismiss()

    def _dismiss(self) -> None:
        """Close the connections of those who may come in no longer."""
        for connection, admitted in list(self._connections.items()):
            if not self._admission.still_holds(admitted):
                closing = connection.close(CloseCode.POLICY_VIOLATION, "the access was withdrawn")
                self._tasks.start(closing, "gateway dismissal")

    def _bound(self) -> tuple[str, int]:
        assert self._address is not None, "the gateway has not been started"
        return self._address

    def _authority(self) -> str:
        host, port = self._bound()
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _turn_away(socket: DeflatingSocket, reason: str) -> None:
    """Refuse after the upgrade: a browser sees nothing of a refusal before it.

    1008 is the standard code for it, so that any client understands; `connection_error`
    says the rest.
    """
    log.warning("connection.refused", reason=reason)
    try:
        await socket.send_frame(
            outgoing.refusal("authentication_failed", reason, 401), web.WSMsgType.TEXT
        )
        await socket.close(code=CloseCode.POLICY_VIOLATION, message=reason_bytes(reason))
    except ConnectionError:
        log.debug("connection.lost_before_refusal")
