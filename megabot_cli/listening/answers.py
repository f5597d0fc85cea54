"""HTTP answers for who looks at an address with a browser or curl: each ends with its line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from megabot_cli.config.spelling import as_clause, did_you_mean

Pages = tuple[tuple[str, str, str], ...]  # method, path, what it is


def index(about: str, pages: Pages, elsewhere: str) -> web.Response:
    """A line for each path; `elsewhere` says where the rest is."""
    widest = max(len(path) for _, path, _ in pages)
    lines = [f"{method:4} {path:{widest}}  {what}" for method, path, what in pages]
    text = "\n".join([about, "", *lines, "", elsewhere, ""])
    return web.Response(text=text, headers={"Cache-Control": "no-store"})


def nothing_at(path: str, pages: Pages) -> str:
    """What is said of a path that is not there."""
    meant = as_clause(did_you_mean(path, [each for _, each, _ in pages]))
    return f"there is nothing at {path[:100]!r}; {meant or 'GET / lists what there is'}"


def can_upgrade(socket: web.WebSocketResponse[Any], request: web.Request) -> bool:
    """Whether a request is a WebSocket handshake. aiohttp's own fails at a key beyond ASCII, and
    takes a HEAD for one (RFC 6455, 4.1: the method must be GET)."""
    try:
        return request.method == "GET" and bool(socket.can_prepare(request))
    except ValueError:
        return False


def json_line(
    facts: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """JSON that leaves a terminal's prompt on a line of its own."""
    text = json.dumps(facts) + "\n"
    return web.Response(status=status, text=text, content_type="application/json", headers=headers)
