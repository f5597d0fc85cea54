"""Pages of another origin that log in here (Fetch standard, 3.2): an app's development server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import hdrs, web
from yarl import URL

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
MAX_AGE_S = 600

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def cross_origin(allowed: Sequence[str]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Let pages of this machine, and those of the origins listed, read what is answered.

    Nothing is sent along by a browser on its own here, no cookie and no saved password, so
    a page gains nothing that a program of the same machine has not. Others are answered too,
    for a request may be no page's, but without the header that lets a page read it.
    """

    @web.middleware
    async def add_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None or response.prepared:
            return response
        response.headers[hdrs.VARY] = hdrs.ORIGIN
        if is_allowed(origin, allowed):
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        return response

    return add_headers


def is_allowed(origin: str, allowed: Sequence[str]) -> bool:
    """Whether a page of this origin may read. `null` is nobody's and may not."""
    if origin in allowed:
        return True
    try:
        url = URL(origin)
        return url.scheme in ("http", "https") and url.host in LOOPBACK
    except ValueError:
        return False


async def preflight(_request: web.Request) -> web.Response:
    """What may be sent to the login; whether the page may is said by `cross_origin`."""
    return web.Response(
        status=204,
        headers={
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: hdrs.METH_POST,
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "Authorization, Content-Type",
            hdrs.ACCESS_CONTROL_MAX_AGE: str(MAX_AGE_S),
        },
    )
