"""The gateway's HTTP side: login, refresh, health, what there is, the way to a socket."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec
import structlog
from aiohttp import hdrs, web

from megabot_cli.config.schema import GatewaySettings
from megabot_cli.gateway.accounts import User, Users
from megabot_cli.gateway.keys import Keys, TokenRefused
from megabot_cli.gateway.ledger import Ledger
from megabot_cli.gateway.throttle import LoginThrottle
from megabot_cli.listening.answers import Pages, index, nothing_at
from megabot_cli.version import __version__

MOST_BODY_BYTES = 64 * 1024
BODY_DEADLINE_S = 10.0
REFRESH_LIFETIME_S = 30 * 86400.0

PAGES: Final[Pages] = (
    ("GET", "/ws", "the WebSocket that clients connect to, with a credential"),
    ("POST", "/api/auth/login", "a token for a username and a password, as JSON"),
    ("POST", "/api/auth/refresh", "new tokens for a refresh_token"),
    ("GET", "/healthz", "does it answer"),
)
FLAT_PAGES: Final[Pages] = (
    ("GET", "/ws", "the WebSocket that clients connect to, with ?token="),
    ("GET", "/healthz", "does it answer"),
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Body = TypeVar("Body")

# What a scenario does about a login: (request, name) → how long its tokens last, if it says.
LoginScript = Callable[[web.Request, str], Awaitable[float | None]]

log = structlog.get_logger()


class Login(msgspec.Struct):
    username: str
    password: str


class Refresh(msgspec.Struct):
    refresh_token: str


class Refused(Exception):
    """An HTTP answer that is not what was asked for."""

    def __init__(self, status: int, error: str, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status = status
        self.error = error
        self.text = text
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class TokenRoutes:
    """`POST /api/auth/login` and `/api/auth/refresh`."""

    def __init__(
        self,
        users: Users,
        keys: Keys,
        ledger: Ledger,
        settings: GatewaySettings,
        throttle: LoginThrottle,
        script: LoginScript | None = None,
    ) -> None:
        self._users = users
        self._keys = keys
        self._ledger = ledger
        self._settings = settings
        self._throttle = throttle
        self._script = script

    async def login(self, request: web.Request) -> web.Response:
        body = await _read(request, Login)
        lifetime_s = await self._script(request, body.username) if self._script else None
        wait_s = self._throttle.admit(body.username, time.monotonic())
        if wait_s > 0:
            log.warning("login.throttled", wait_s=round(wait_s, 1))
            seconds = str(max(1, math.ceil(wait_s)))
            text = f"Too many attempts. Try again in {seconds} s."
            raise Refused(429, "rate_limited", text, Retry_After=seconds)
        user = await self._users.verify(body.username, body.password)
        if user is None:
            log.warning("login.refused", remote=request.remote)
            raise Refused(401, "authentication_failed", "Invalid username or password")
        self._throttle.forgive(body.username)
        log.info("login.accepted", user=user.name)
        return self._tokens(user, lifetime_s)

    async def refresh(self, request: web.Request) -> web.Response:
        body = await _read(request, Refresh)
        try:
            claims = self._keys.read(body.refresh_token, "refresh", now=time.time())
        except TokenRefused as fault:
            raise Refused(401, "authentication_failed", str(fault)) from fault
        user = self._users.by_name(claims.sub)
        if user is None or user.user_id != claims.user_id:
            raise Refused(401, "authentication_failed", "The user of this token is gone")
        if not self._ledger.spend(claims.jti, claims.exp):
            log.warning("refresh.repeated", user=user.name)
            raise Refused(401, "authentication_failed", "This refresh token was used already")
        log.info("token.refreshed", user=user.name)
        return self._tokens(user)

    def _tokens(self, user: User, lifetime_s: float | None = None) -> web.Response:
        now = time.time()
        lifetime_s = lifetime_s or self._settings.token_lifetime_s
        refresh_s = max(REFRESH_LIFETIME_S, lifetime_s)
        return answer(
            200,
            {
                "token": self._keys.issue(user, "access", lifetime_s=lifetime_s, now=now),
                "expires_in": int(lifetime_s) if lifetime_s.is_integer() else lifetime_s,
                "refresh_token": self._keys.issue(user, "refresh", lifetime_s=refresh_s, now=now),
                "user_id": user.user_id,
            },
            {hdrs.CACHE_CONTROL: "no-store"},
        )


def serve_index(pages: Pages, manual: str = "protocol") -> Handler:
    """For somebody who looks at `/`: what there is."""

    async def serve(_request: web.Request) -> web.StreamResponse:
        about = f"megabot gateway {__version__}: MegaBot on this machine"
        return index(about, pages, f"What is said there: man 7 megabot-{manual}")

    return serve


async def healthz(request: web.Request) -> web.Response:
    return answer(200, {"status": "ok", "version": __version__})


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every HTTP refusal is `{error, message, code}`."""
    try:
        return await handler(request)
    except Refused as fault:
        return refusal(fault.status, fault.error, fault.text, fault.headers)
    except web.HTTPNotFound:
        return refusal(404, "not_found", nothing_at(request.path, PAGES), {})
    except web.HTTPException as fault:
        kept: dict[str, str] = {
            name: fault.headers[name] for name in (hdrs.ALLOW,) if name in fault.headers
        }
        error = fault.reason.lower().replace(" ", "_")
        return refusal(fault.status, error, fault.reason, kept)
    except ConnectionError:
        raise  # nobody is there to be answered
    except Exception as fault:
        log.error("request.failed", path=request.path, exc_info=fault)
        return refusal(500, "internal", "The gateway failed at this request.", {})


def refusal(status: int, error: str, text: str, headers: Mapping[str, str]) -> web.Response:
    return answer(status, {"error": error, "message": text, "code": status}, headers)


def answer(
    status: int, content: dict[str, Any], headers: Mapping[str, str] | None = None
) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(content) + b"\n",  # for a terminal's sake
        content_type="application/json",
        headers=headers,
    )


async def _read(request: web.Request, kind: type[Body]) -> Body:
    """The JSON body of a request. Raises Refused for one that is late, large or wrong."""
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            content = await request.read()
    except TimeoutError as fault:
        raise Refused(408, "request_timeout", "The body did not come in time") from fault
    except web.HTTPRequestEntityTooLarge as fault:
        text = f"The body is longer than {MOST_BODY_BYTES} bytes"
        raise Refused(413, "too_large", text) from fault
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise Refused(400, "bad_request", f"The body is not what is expected: {fault}") from fault
