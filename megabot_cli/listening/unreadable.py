"""A request that cannot be read is answered as any other that is refused: JSON, on one line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web

from megabot_cli.listening.answers import json_line


class Requests(web.RequestHandler):
    """The requests of one connection. aiohttp itself answers some in plain text, with what was
    sent, and hangs up."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Say what is wrong, in aiohttp's words without the bytes that it shows."""
        super().handle_error(request, status, exc, message)  # it logs, and knows what was sent
        if status < 500:
            said = (message or "it cannot be read").partition("\n")[0].partition(": ")[0]
            error, why = "malformed", f"the request is malformed: {said.rstrip('.:')}"
        else:
            error, why = "internal", "the request failed here; the log says how"
        answer = json_line({"error": error, "message": why, "code": status}, status)
        answer.force_close()
        return answer


def protocols_of(runner: web.AppRunner, **limits: int) -> Callable[[], Requests]:
    """What makes the protocol of each connection of a runner that is set up. `limits` are those
    that it takes of the sizes of a request's head."""
    server, loop = runner.server, asyncio.get_running_loop()
    assert server is not None, "it is set up"
    options: dict[str, Any] = {"access_log": None, **limits}
    return lambda: Requests(server, loop=loop, **options)
