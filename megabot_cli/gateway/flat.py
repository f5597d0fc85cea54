"""The gateway in the flat dialect: one static token, no sessions, no envelope.

It is the same gateway behind a translation: limits, outbox, heartbeat, order of answers and
assistant are those of the main dialect.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import structlog
from aiohttp import web

from megabot_cli.client.ids import new_id
from megabot_cli.client.tasks import TaskSet
from megabot_cli.config.schema import GatewaySettings, IntegritySettings, LimitSettings
from megabot_cli.errors import BadConfiguration
from megabot_cli.gateway import outgoing, routes
from megabot_cli.gateway.accounts import User, Users
from megabot_cli.gateway.admission import Admission, Admitted
from megabot_cli.gateway.connection import Connection
from megabot_cli.gateway.handlers import Handlers, Sender
from megabot_cli.gateway.inbox import Arrived
from megabot_cli.gateway.keys import FLAT_TOKEN_NAME, Keys
from megabot_cli.gateway.ledger import Ledger
from megabot_cli.gateway.server import Gateway
from megabot_cli.gateway.workspace import Workspaces
from megabot_cli.protocol import flat
from megabot_cli.protocol.envelope import open_envelope
from megabot_cli.protocol.validation import Problem

GREETING = "Hello, I am MegaBot. What can I do for you?"
MOST_AWAITING_APPROVAL = 100
_TOKEN_BYTES = 24

log = structlog.get_logger()


def load_token(folder: Path) -> tuple[str, bool]:
    """The static token kept in `folder`, and whether it was made just now."""
    ledger = Ledger.open(folder)
    try:
        return ledger.secret(FLAT_TOKEN_NAME, new_token)
    finally:
        ledger.close()


def new_token() -> str:
    return secrets.token_urlsafe(_TOKEN_BYTES)


class FlatConnection(Connection):
    """A connection whose peer hears and says flat messages."""

    def send(self, message: bytes) -> None:
        flat_message = flat.from_envelope(message, time.time())
        if flat_message is not None:
            super().send(flat_message)

    def _greet(self) -> None:
        super().send(flat.said(GREETING, time.time()))

    def _receive(self, text: bytes) -> None:
        limit = self._limits.max_message_bytes
        if 0 < limit < len(text):
            words = f"the message has {len(text)} bytes; at most {limit} may be sent"
            self.refuse("message_too_large", words, 413, None)
            return
        message = flat.to_envelope(text, new_id("msg"), time.time())
        if isinstance(message, Problem):
            self.refuse("invalid_message", str(message), message.code, None)
        else:
            super()._receive(message)


class FlatHandlers(Handlers):
    """Answers what the flat dialect has beside `message`. It runs no command, ever."""

    def __init__(
        self, tasks: TaskSet, max_message_bytes: int, broadcast: Callable[[bytes], None]
    ) -> None:
        super().__init__(Workspaces(), tasks, max_message_bytes)
        self._broadcast = broadcast
        self._awaiting: dict[str, str] = {}  # the command of each action, the oldest first

    def handle(self, sender: Sender, arrived: Arrived) -> None:
        match arrived.message.type:
            case "set_mode":
                sender.send(outgoing.message("mode_updated", {"mode": _value(arrived)}))
            case "command":
                self._queue(sender, _value(arrived))
            case "approve_action" | "reject_action" as kind:
                self._decide(sender, _value(arrived), approved=kind == "approve_action")
            case _:
                super().handle(sender, arrived)

    def _queue(self, sender: Sender, command: str) -> None:
        """Tell the sender that its command waits, and everybody that somebody must decide."""
        action_id = new_id("exec")
        self._awaiting[action_id] = command
        if len(self._awaiting) > MOST_AWAITING_APPROVAL:
            del self._awaiting[next(iter(self._awaiting))]
        sender.send(_status(f"Command queued for approval: {command}"))
        action = {
            "id": action_id,
            "type": "system_command",
            "payload": {"method": "system.run", "params": {"command": command}},
            "description": f"Terminal Execute: {command}",
        }
        self._broadcast(outgoing.message("approval_required", {"action": action}))

    def _decide(self, sender: Sender, action_id: str, *, approved: bool) -> None:
        command = self._awaiting.pop(action_id, None)
        if command is None:
            text = f"No action {action_id[:100]} waits for approval."
            sender.refuse("unknown_execution", text, 400, None)
        elif approved:
            self._broadcast(_status(f"Approved: {command} (this gateway runs no commands)"))
        else:
            self._broadcast(_status(f"Rejected: {command}"))


class FlatGateway(Gateway):
    """A `Gateway` for clients of the flat dialect. Whoever has the token may come in."""

    connection_type = FlatConnection

    def __init__(
        self, settings: GatewaySettings, limits: LimitSettings, *, token: str, **more: Any
    ) -> None:
        """`more` is what `Gateway` takes beside users and keys. Nothing outlives the process."""
        if not token:
            raise BadConfiguration("The static token of a flat gateway is empty.")
        if settings.integrity != IntegritySettings():
            raise BadConfiguration(
                "The flat dialect has no place for signatures",
                "Leave gateway.integrity out, or the dialect.",
            )
        if settings.scenario is not None:
            raise BadConfiguration(
                "A scenario is played in the main dialect only",
                "Leave gateway.scenario out, or the dialect.",
            )
        users = Users.in_memory()
        super().__init__(settings, limits, users, keys=Keys.in_memory(), **more)
        self._token = token.encode()
        self._admission = _OneUser(users, self._keys)
        self._handlers = FlatHandlers(self._tasks, limits.max_message_bytes, self._broadcast)

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[errors_as_text], client_max_size=routes.MOST_BODY_BYTES)
        app.router.add_get("/", routes.serve_index(routes.FLAT_PAGES, "flat"))
        app.router.add_get("/healthz", routes.healthz)
        app.router.add_get("/ws", self._serve_socket, allow_head=False)
        return app

    async def _serve_socket(self, request: web.Request) -> web.StreamResponse:
        given = request.query.get("token", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, self._token):
            log.warning("connection.refused", reason="bad token")
            _refuse_token()
        return await super()._serve_socket(request)

    def _broadcast(self, message: bytes) -> None:
        for connection in list(self._connections):
            connection.send(message)


@web.middleware
async def errors_as_text(request: web.Request, handler: routes.Handler) -> web.StreamResponse:
    """Every HTTP refusal is one line of plain text."""
    response = await routes.errors_as_json(request, handler)
    if response.status < 400 or not isinstance(response, web.Response):
        return response
    headers = {
        name: value
        for name, value in response.headers.items()
        if name not in ("Content-Type", "Content-Length")
    }
    return web.Response(status=response.status, text=f"{response.reason}\n", headers=headers)


class _OneUser(Admission):
    """Everybody who has shown the token is the same user."""

    def admit(self, request: web.Request) -> Admitted:
        return Admitted(User("flat", "user_flat"))


def _refuse_token() -> NoReturn:
    raise routes.Refused(403, "forbidden", "The token is missing or wrong")


def _status(content: str) -> bytes:
    return outgoing.message("status", {"content": content})


def _value(arrived: Arrived) -> str:
    """The one field of a message; `protocol.flat` let no other through."""
    envelope = open_envelope(arrived.text)
    assert envelope is not None
    payload: dict[str, str] = envelope.decoded_payload()
    return next(iter(payload.values()))
