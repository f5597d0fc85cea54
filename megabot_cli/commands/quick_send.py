"""`send --no-wait` without the real client: a third of the time from start to exit."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from megabot_cli.client.credentials import Credential
    from megabot_cli.client.endpoint import Endpoint
    from megabot_cli.commands.invocation import Invocation
    from megabot_cli.commands.sending import SendOptions

_LIMIT_S: Final = 10.0
_LIMIT_ON_A_TERMINAL_S: Final = 1.0  # after this the real client tells what it waits for


def send_quickly(invocation: Invocation, options: SendOptions, text: str) -> bool:
    """Send one message to a plain address with a credential at hand.

    False where that does not do or does not work; nothing has been sent then, and the real
    client says what is wrong. Raises ConnectionLost when nobody knows whether it arrived, and
    NotFound where the session asked for is gone.
    """
    from megabot_cli.client.plain_socket import NotSoSimple, PlainSocket
    from megabot_cli.errors import ConnectionLost
    from megabot_cli.protocol.envelope import peek

    profile = invocation.configuration.profile
    plain = profile.dialect == "megabot" and profile.integrity.key_file is None
    way = _way(invocation, direct=options.direct) if plain and not options.tools else None
    most = invocation.configuration.settings.limits.max_message_bytes
    if way is None or profile.integrity.require or (most and len(text.encode()) > most):
        return False
    endpoint, credential, send_in = way
    headers: dict[str, str] = {}
    query = {"platform": profile.platform} if profile.platform else {}
    if options.session is not None:
        query["session_id"] = options.session
    if credential is not None and send_in == "query":
        query["token"] = credential.secret
    elif credential is not None:
        headers["Authorization"] = f"Bearer {credential.secret}"
        if credential.kind == "api_key":
            headers["X-API-Key"] = credential.secret
    longest_s = _LIMIT_ON_A_TERMINAL_S if invocation.console.err_is_terminal else _LIMIT_S
    limit_s = min(options.timeout_s or longest_s, longest_s)
    try:
        with PlainSocket(endpoint, headers, query, limit_s=limit_s) as socket:
            greeting = socket.receive_text()
            head = peek(greeting)
            if head is None or head.type != "connection_established":
                return False
            made = _session_of(greeting)
            if options.session not in (None, made):
                raise _WrongSession(made)
            try:
                socket.send_text(text)
            except OSError:
                raise ConnectionLost(
                    "The connection fell while the message was being sent",
                    "It may have arrived or not.",
                ) from None
    except NotSoSimple:
        return False
    except _WrongSession as wrong:
        if options.or_new or options.session is None or wrong.made is None:
            return False
        from megabot_cli.commands.asked_session import OR_NEW, no_such_session

        raise no_such_session(
            invocation, options.session, wrong.made, direct=options.direct, else_new=OR_NEW
        ) from None
    return True


class _WrongSession(Exception):
    """The session asked for is not there; `made` is the one there is instead."""

    def __init__(self, made: str | None) -> None:
        super().__init__(made)
        self.made = made


def _session_of(greeting: bytes) -> str | None:
    import json

    payload = json.loads(greeting).get("payload")
    session = payload.get("session_id") if isinstance(payload, dict) else None
    return session if isinstance(session, str) else None


_Way = tuple["Endpoint", "Credential | None", str]


def _way(invocation: Invocation, *, direct: bool) -> _Way | None:
    """Where it goes, with what credential, and where in the request that stands; None where
    it needs the real client."""
    from megabot_cli.client.credentials import given_credential
    from megabot_cli.client.endpoint import parse_endpoint
    from megabot_cli.commands.upstream import client_token, known_credential

    relay = None if direct else invocation.running_relay()
    if relay is not None:
        endpoint = parse_endpoint(relay.url)
        token = client_token(Path(relay.token_file))
        return endpoint, given_credential(endpoint.origin, None, token), "header"
    profile = invocation.configuration.profile
    endpoint = parse_endpoint(profile.url)
    credential = known_credential(invocation, endpoint.origin)
    if credential is None or credential.origin != endpoint.origin:
        return None
    ends_at = credential.expires_at
    if ends_at is not None and ends_at < time.time() + profile.auth.refresh_margin_s:
        return None  # it wants renewing first
    return endpoint, credential, profile.credential_in
