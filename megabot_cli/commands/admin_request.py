"""One request to a running relay's admin listener, with the standard library alone: importing
aiohttp takes longer than the answer."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.error
import urllib.request
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from megabot_cli.commands.upstream import client_token
from megabot_cli.errors import (
    BadConfiguration,
    BadData,
    CouldNotConnect,
    NotFound,
    NotPermitted,
    PartlyFailed,
)

if TYPE_CHECKING:
    from megabot_cli.storage.run_files import RunningRelay

REQUEST_LIMIT_S = 10.0

# What `relay/overview` says of each in a list: of an empty one too, for those who choose.
FIELDS = {
    "clients": (
        "id",
        "profile",
        "name",
        "session",
        "link",
        "role",
        "connected_s",
        "messages",
        "outbox_bytes",
        "cursor",
    ),
    "sessions": (
        "session",
        "profile",
        "link",
        "state",
        "clients",
        "waiting",
        "requests",
        "cursor",
        "kept",
        "attempts",
        "fault",
    ),
}


def ask_relay(
    relay: RunningRelay,
    what: str,
    wishes: dict[str, Any] | None = None,
    *,
    limit_s: float = REQUEST_LIMIT_S,
) -> Any:
    """Its answer; with `wishes` it does something. Raises what it refuses with, as ours, and
    CouldNotConnect when nothing comes for `limit_s`."""
    from megabot_cli.config.listen import unix_path

    path = unix_path(relay.admin_url)
    url = f"{relay.admin_url if path is None else 'http://localhost'}/relay/{what}"
    headers = {"X-Megabot-Control": "1", "Content-Type": "application/json"}
    if token := client_token(Path(relay.token_file)):
        headers["Authorization"] = f"Bearer {token}"
    body = None if wishes is None else json.dumps(wishes).encode()
    request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310  our own URL
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _OneSocket(path))
    try:
        with opener.open(request, timeout=limit_s) as response:
            return json.loads(response.read())
    except urllib.error.HTTPError as refusal:
        raise _refused(relay, refusal.code, refusal.read()) from None
    except (OSError, ValueError, http.client.HTTPException) as fault:
        reason = getattr(fault, "reason", fault)
        hint = "`megabot relay` starts one; its log says what is wrong with this one."
        if wishes is not None and isinstance(reason, TimeoutError):
            hint = "It may still do it, once it goes on; its log says what is wrong with it."
        message = f"The relay at {relay.admin_url} does not answer: {reason}"
        raise CouldNotConnect(message, hint) from None


class _OneSocket(urllib.request.HTTPHandler):
    """HTTP as always or, with a path, through that Unix socket."""

    def __init__(self, path: PurePath | None) -> None:
        super().__init__()
        self._path = path

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        if self._path is None:
            return super().http_open(request)
        path = self._path

        class Through(http.client.HTTPConnection):
            def connect(self) -> None:
                self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self.sock.settimeout(self.timeout)
                self.sock.connect(str(path))

        return self.do_open(Through, request)


def _refused(relay: RunningRelay, status: int, body: bytes) -> Exception:
    from megabot_cli.commands.relay_refusals import wants_token

    try:
        facts = json.loads(body)
    except ValueError:
        facts = {}
    message = facts.get("message") or f"The relay refuses with {status}"
    if status == 401:
        message = f"The relay at {relay.admin_url} lets nobody in without its token"
        return NotPermitted(message, wants_token(relay))
    if facts.get("error") == BadConfiguration.code:  # what it was to read anew is wrong
        return BadConfiguration(message, facts.get("hint"))
    kinds = {403: NotPermitted, 404: NotFound, 507: PartlyFailed}
    return kinds.get(status, BadData)(message, facts.get("hint"))
