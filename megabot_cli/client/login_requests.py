"""Exchange a password or a refresh token for a credential, over HTTP."""

from __future__ import annotations

import asyncio
import ssl as tls
import time
from typing import Any

import aiohttp
import msgspec

from megabot_cli.client.credentials import Credential, jwt_expiry
from megabot_cli.client.endpoint import Endpoint
from megabot_cli.client.network_faults import NETWORK_FAULTS, network_error
from megabot_cli.client.refusals import (
    LOG_IN,
    Refusal,
    connecting_error,
    read_refusal,
    refused_credential,
    retry_after_s,
    seconds_of,
    who_of,
)
from megabot_cli.errors import NotAuthenticated, UpstreamRefused

LOGIN_TIMEOUT_S = 10.0
MOST_BODY_BYTES = 64 * 1024

_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    # The session may be one that does not decompress; there is little to gain here.
    "Accept-Encoding": "identity",
}

Tls = tls.SSLContext | bool  # True: as the session's connector has it


async def login(
    http: aiohttp.ClientSession,
    endpoint: Endpoint,
    username: str,
    password: str,
    *,
    ssl: Tls = True,
) -> Credential:
    """Exchange a user name and password for a credential.

    Raises `NotAuthenticated` (wrong ones), `RateLimited`, `CouldNotConnect`, and
    `UpstreamRefused` for an answer that is none.
    """
    body = {"username": username, "password": password}
    answer = await _post(http, endpoint, endpoint.login_url, body, password, "Check both.", ssl)
    return _credential_from(answer, endpoint, Credential("jwt", "", endpoint.origin, username))


async def refresh(
    http: aiohttp.ClientSession, endpoint: Endpoint, credential: Credential, *, ssl: Tls = True
) -> Credential:
    """Exchange a credential's refresh token for a new credential.

    Raises as `login` does; `NotAuthenticated` when there is no refresh token.
    """
    if credential.origin != endpoint.origin:
        raise refused_credential(credential, endpoint.origin)
    if credential.refresh_token is None:
        raise NotAuthenticated("The credential cannot be renewed", LOG_IN)
    body = {"refresh_token": credential.refresh_token}
    secret = credential.refresh_token
    answer = await _post(http, endpoint, endpoint.refresh_url, body, secret, LOG_IN, ssl)
    return _credential_from(answer, endpoint, credential)


async def _post(
    http: aiohttp.ClientSession,
    endpoint: Endpoint,
    url: str,
    body: dict[str, str],
    secret: str,
    hint: str | None,
    ssl: Tls,
) -> bytes:
    """The body of a 200. `secret` is what must not stand in an error; `hint` is for a 401."""
    try:
        async with (
            asyncio.timeout(LOGIN_TIMEOUT_S),
            http.post(
                url,
                data=msgspec.json.encode(body),
                headers=_HEADERS,
                ssl=ssl,
                allow_redirects=False,  # a password goes to the origin it was given for
            ) as response,
        ):
            content = await read_at_most(response, MOST_BODY_BYTES)
            status, headers = response.status, response.headers
    except UnicodeEncodeError:
        raise NotAuthenticated("The user name or password is no Unicode text") from None
    except NETWORK_FAULTS as fault:
        raise network_error(fault, endpoint.address, LOGIN_TIMEOUT_S) from None
    if status == 200:
        return content
    if 300 <= status < 400:
        raise redirect_refused(status, endpoint.address)
    refusal = msgspec.structs.replace(
        read_refusal(content, status), retry_after_s=retry_after_s(headers, time.time())
    )
    if status in (400, 404, 405, 413, 415):
        # The request itself is what it does not like: nothing an operator typed is wrong.
        words = refusal.message or refusal.error or "no login is possible there"
        refusal = Refusal(message=f"{status}, {words}")
        hint = "Check the profile's url."
    elif status != 401:
        hint = None
    raise connecting_error(refusal, who_of(endpoint.address), secret=secret, hint=hint)


def redirect_refused(status: int, address: str) -> UpstreamRefused:
    return UpstreamRefused(
        f"{who_of(address)} answered with a redirect ({status}), which is not followed",
        "Put the address that it should be in the profile's url.",
    )


async def read_at_most(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    """The body, cut at `most_bytes`."""
    parts: list[bytes] = []
    room = most_bytes
    while room > 0:
        part = await response.content.read(room)
        if not part:
            break
        parts.append(part)
        room -= len(part)
    return b"".join(parts)


class _LoginAnswer(msgspec.Struct):
    token: Any = None
    expires_in: Any = None
    refresh_token: Any = None
    user_id: Any = None


def _credential_from(body: bytes, endpoint: Endpoint, before: Credential) -> Credential:
    """Only `token` is required; other fields count when they are what they should be."""
    try:
        answer = msgspec.json.decode(body, type=_LoginAnswer)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise UpstreamRefused(
            f"{who_of(endpoint.address)} answered the login with something that is no JSON object",
            "Check the profile's url.",
        ) from None
    token = answer.token
    if not isinstance(token, str) or not is_sendable(token):
        raise UpstreamRefused(
            f"{who_of(endpoint.address)} accepted the login but gave no usable token"
        )
    lifetime_s = seconds_of(answer.expires_in)
    # A lifetime counts from now on our clock, whatever the upstream's clock says.
    expires_at = jwt_expiry(token) if lifetime_s is None else time.time() + lifetime_s
    return Credential(
        kind="jwt",
        secret=token,
        origin=endpoint.origin,
        username=before.username,
        user_id=_text(answer.user_id) or before.user_id,
        expires_at=expires_at,
        refresh_token=_text(answer.refresh_token) or before.refresh_token,
    )


def is_sendable(secret: str) -> bool:
    """Whether a secret can stand in a header: visible ASCII (RFC 9110, 5.5), no spaces."""
    return bool(secret) and all("!" <= character <= "~" for character in secret)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
