"""Talking to a running relay: facts for whoever may connect, deeds for who has the token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from aiohttp import web

from megabot_cli.errors import BadData, MegabotError, NotFound, PartlyFailed
from megabot_cli.listening.answers import json_line
from megabot_cli.protocol.close_codes import CloseCode
from megabot_cli.relay import overview

if TYPE_CHECKING:
    from megabot_cli.relay.server import Relay

log = structlog.get_logger("relay")

# A page cannot set this on a request of its own without asking first, and is refused then.
HEADER = "X-Megabot-Control"

MOST_NOTE = 1000  # characters of a mark
_STATUS: dict[type[MegabotError], int] = {NotFound: 404, PartlyFailed: 507}
LEVELS = ("debug", "info", "warning", "error")

Deed = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]


class Control:
    """The routes under `/relay/` of the admin listener.

    `GET status|clients|sessions` tell; `POST close|drain|reauth|mark|level|dump|reload` do,
    with a JSON object as body. `may_see` and `may_do` say why a request may not, or None.
    """

    def __init__(
        self,
        relay: Relay,
        may_see: Callable[[web.Request], Awaitable[web.Response | None]],
        may_do: Callable[[web.Request], web.Response | None],
    ) -> None:
        self._relay = relay
        self._may_see = may_see
        self._may_do = may_do

    def add_to(self, router: web.UrlDispatcher) -> None:
        views: dict[str, Callable[[], Any]] = {
            "status": lambda: overview.status(self._relay),
            "clients": lambda: overview.clients(self._relay),
            "sessions": lambda: overview.sessions(self._relay),
        }
        for name, view in views.items():
            router.add_get(f"/relay/{name}", self._shown(view))
        deeds: dict[str, Deed] = {
            "close": self._close,
            "drain": self._drain,
            "reauth": self._reauth,
            "mark": self._mark,
            "level": self._level,
            "dump": self._dump,
            "reload": self._reload,
        }
        for name, deed in deeds.items():
            router.add_post(f"/relay/{name}", self._done(name, deed))

    def _shown(self, view: Callable[[], Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def serve(request: web.Request) -> web.Response:
            refusal = await self._may_see(request)
            if refusal is not None:
                return refusal
            return json_line(view(), headers={"Cache-Control": "no-store"})

        return serve

    def _done(self, name: str, deed: Deed) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def serve(request: web.Request) -> web.Response:
            refusal = self._may_do(request)
            if refusal is not None:
                return refusal
            try:
                wishes = await _read(request)
                outcome = await deed(wishes)
            except MegabotError as fault:
                status = _STATUS.get(type(fault), 400)
                body = {"error": fault.code, "message": fault.message, "hint": fault.hint}
                return json_line(body, status)
            log.info("control.done", deed=name, **outcome)
            return json_line({"done": name, **outcome})

        return serve

    async def _close(self, wishes: Mapping[str, Any]) -> dict[str, Any]:
        name = _word(wishes, "id")
        reason = wishes.get("reason") or "closed by the operator"
        profile = _profile(wishes)
        closed = self._relay.operations.close(
            name, CloseCode.GOING_AWAY, str(reason)[:100], profile=profile
        )
        if not closed:
            within = f" of profile {profile!r}" if profile is not None else ""
            raise NotFound(
                f"There is no client, session or link {name!r}{within}",
                "`megabot relay clients` and `megabot relay sessions` list them.",
            )
        return {"closed": closed}

    async def _drain(self, _wishes: Mapping[str, Any]) -> dict[str, Any]:
        self._relay.operations.begin_drain()
        return {"clients": self._relay.gauges().clients}

    async def _reauth(self, wishes: Mapping[str, Any]) -> dict[str, Any]:
        return {"links": self._relay.operations.reauth(_profile(wishes))}

    async def _mark(self, wishes: Mapping[str, Any]) -> dict[str, Any]:
        text = _word(wishes, "text")
        if len(text) > MOST_NOTE:
            raise BadData(f"a mark has at most {MOST_NOTE} characters")
        self._relay.operations.mark(text)
        recorder = self._relay.recorder
        return {"recording": recorder.id if recorder is not None else None}

    async def _level(self, wishes: Mapping[str, Any]) -> dict[str, Any]:
        level = _word(wishes, "level")
        if level not in LEVELS:
            raise BadData(f"there is no level {level!r}", f"One of {', '.join(LEVELS)}.")
        self._relay.operations.set_level(level)
        return {"level": level}

    async def _dump(self, wishes: Mapping[str, Any]) -> dict[str, Any]:
        path = await self._relay.operations.dump(str(wishes.get("reason") or "asked for"))
        return {"recording": str(path)}

    async def _reload(self, _wishes: Mapping[str, Any]) -> dict[str, Any]:
        changed, waits = self._relay.operations.reload()
        try:
            recording = await self._relay.operations.record_again()
        except PartlyFailed as fault:
            also = f" Only after a restart: {', '.join(waits)}." if waits else ""
            raise PartlyFailed(f"Reloaded, but {fault.message}", f"{fault.hint}{also}") from fault
        return {"changed": changed, "needs_restart": waits, "recording": recording}


async def _read(request: web.Request) -> dict[str, Any]:
    content = await request.read()
    if not content:
        return {}
    try:
        wishes = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
        raise BadData(f"the body is no JSON: {fault}") from None
    if not isinstance(wishes, dict):
        raise BadData("the body is a JSON object")
    return wishes


def _profile(wishes: Mapping[str, Any]) -> str | None:
    """Whose things are meant; None: those of all that it serves."""
    return _word(wishes, "profile") if "profile" in wishes else None


def _word(wishes: Mapping[str, Any], name: str) -> str:
    word = wishes.get(name)
    if not isinstance(word, str) or not word.strip():
        raise BadData(f"the body names no {name}")
    return word
