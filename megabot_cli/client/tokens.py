"""Get a credential that is valid now: log in, refresh, and share the result."""

from __future__ import annotations

import asyncio
import ssl as tls
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import msgspec

from megabot_cli.client.credentials import Credential, CredentialStore, ProfileLock, jwt_expiry
from megabot_cli.client.endpoint import Endpoint
from megabot_cli.client.network_faults import NETWORK_FAULTS, network_error
from megabot_cli.client.refusals import (
    LOG_IN,
    Refusal,
    read_refusal,
    refusal_error,
    refused_credential,
    retry_after_s,
    seconds_of,
    who_of,
)
from megabot_cli.errors import CouldNotConnect, MegabotError, NotAuthenticated, UpstreamRefused

LOGIN_TIMEOUT_S = 10.0
MOST_BODY_BYTES = 64 * 1024
LOCK_TIMEOUT_S = 15.0
LOCK_RETRY_S = 0.05

_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    # The session may be one that does not decompress; there is little to gain here.
    "Accept-Encoding": "identity",
}

# A renewal that is cancelled may have spent the refresh token already: so long it may
# still take to bring the new one home.
CANCELLED_GRACE_S = 0.5

Tls = tls.SSLContext | bool  # True: as the session's connector has it

T = TypeVar("T")


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
    hint: str,
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
        raise network_error(fault, endpoint.origin, LOGIN_TIMEOUT_S) from None
    if status == 200:
        return content
    if 300 <= status < 400:
        raise redirect_refused(status, endpoint.origin)
    refusal = msgspec.structs.replace(
        read_refusal(content, status), retry_after_s=retry_after_s(headers, time.time())
    )
    if status in (400, 404, 405, 413, 415):
        # About the login itself, not about a message: 400 is no bad data of the operator's.
        refusal = Refusal(status, refusal.error, refusal.message or "no login is possible there")
        raise UpstreamRefused(
            str(refusal_error(_as_fault(refusal), who_of(endpoint.origin), secret=secret)),
            "Check the profile's url.",
        )
    raise refusal_error(
        refusal, who_of(endpoint.origin), secret=secret, hint=hint if status == 401 else None
    )


def _as_fault(refusal: Refusal) -> Refusal:
    words = f"{refusal.code}, {refusal.message or refusal.error}"
    return Refusal(None, refusal.error, words)


def redirect_refused(status: int, origin: str) -> UpstreamRefused:
    return UpstreamRefused(
        f"{who_of(origin)} answered with a redirect ({status}), which is not followed",
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
            f"{who_of(endpoint.origin)} answered the login with something that is no JSON object",
            "Check the profile's url.",
        ) from None
    token = answer.token
    if not isinstance(token, str) or not is_sendable(token):
        raise UpstreamRefused(
            f"{who_of(endpoint.origin)} accepted the login but gave no usable token"
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


class TokenSource:
    """The one place that has a valid credential of one identity.

    Renews it before it expires, and once when it was refused, for all who ask at the same
    time; with a store also for all processes, under the profile's lock. `login` is a user
    name and password to log in with when nothing else helps.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        endpoint: Endpoint,
        *,
        credential: Credential | None,
        refresh_margin_s: float = 60.0,
        store: CredentialStore | None = None,
        profile: str | None = None,
        login: tuple[str, str] | None = None,
        ssl: Tls = True,
    ) -> None:
        if credential is not None and credential.origin != endpoint.origin:
            raise refused_credential(credential, endpoint.origin)
        self._http = http
        self._endpoint = endpoint
        self._credential = credential
        self._margin_s = refresh_margin_s
        self._store = store if profile is not None else None
        self._profile = profile or ""
        self._login = login
        self._ssl = ssl
        self._turn = asyncio.Lock()
        self._obtained_at = time.time()

    @property
    def expires_at(self) -> float | None:
        """When the credential ends, Unix seconds; None when that is not known."""
        return self._credential.expires_at if self._credential is not None else None

    async def current(self) -> Credential | None:
        """A credential that is valid as far as we know; None when none is needed or known.

        One that has expired and cannot be renewed is returned all the same: our clock may
        be wrong, and the upstream decides. Raises `NotAuthenticated` when a renewal is
        refused, and `CouldNotConnect` when it cannot be asked for, of an expired one.
        """
        credential = self._credential
        if not self._is_due(credential) or not self._renewable(credential):
            return credential
        async with self._turn:
            if self._credential is not credential:
                return self._credential
            try:
                return await self._renew(credential)
            except MegabotError:
                # It was too early to need a new one: the old one is as good as before.
                if credential is not None and not self._expired(credential):
                    return credential
                raise

    async def after_refusal(self, refused: Credential) -> Credential:
        """A credential other than the one refused; one renewal for all who come.

        Raises `NotAuthenticated` when there is no way to one.
        """
        async with self._turn:
            current = self._credential
            if current is not None and current.secret != refused.secret:
                return current
            stored = await self._stored()
            if stored is not None and stored.secret != refused.secret:
                return self._keep(stored)
            if not self._renewable(refused):
                what = "API key" if refused.kind == "api_key" else "login"
                raise NotAuthenticated(
                    f"{who_of(self._endpoint.origin)} no longer accepts this {what}", LOG_IN
                )
            return await self._renew(refused)

    def _is_due(self, credential: Credential | None) -> bool:
        if credential is None:
            return True
        if credential.expires_at is None:
            return False
        lifetime_s = max(0.0, credential.expires_at - self._obtained_at)
        margin_s = min(self._margin_s, lifetime_s / 10)
        return time.time() >= credential.expires_at - margin_s

    @staticmethod
    def _expired(credential: Credential) -> bool:
        return credential.expires_at is not None and time.time() >= credential.expires_at

    def _renewable(self, credential: Credential | None) -> bool:
        has_refresh = credential is not None and credential.refresh_token is not None
        return has_refresh or self._login is not None

    async def _renew(self, old: Credential | None) -> Credential:
        return await _finish(self._renew_once(old), "renew the credential")

    async def _renew_once(self, old: Credential | None) -> Credential:
        async with self._profile_lock():
            stored = await self._stored()
            if stored is not None and (old is None or stored.secret != old.secret):
                # Another process renewed it; its refresh token replaced ours.
                if not self._is_due(stored):
                    return self._keep(stored)
                old = stored
            credential = await self._obtain(old)
            if self._store is not None:
                await asyncio.to_thread(self._store.save, self._profile, credential)
            return self._keep(credential)

    async def _obtain(self, old: Credential | None) -> Credential:
        if old is not None and old.refresh_token is not None:
            try:
                return await refresh(self._http, self._endpoint, old, ssl=self._ssl)
            except NotAuthenticated:
                if self._login is None:
                    raise
        if self._login is None:
            raise NotAuthenticated("The credential cannot be renewed", LOG_IN)
        return await login(self._http, self._endpoint, *self._login, ssl=self._ssl)

    def _keep(self, credential: Credential) -> Credential:
        self._credential = credential
        self._obtained_at = time.time()
        return credential

    async def _stored(self) -> Credential | None:
        if self._store is None:
            return None
        return await asyncio.to_thread(self._store.load, self._profile, self._endpoint.origin)

    @asynccontextmanager
    async def _profile_lock(self) -> AsyncIterator[None]:
        """Hold the profile's lock, waiting without blocking the event loop."""
        if self._store is None:
            yield
            return
        lock = self._store.lock(self._profile)
        await _acquire(lock)
        try:
            yield
        finally:
            lock.release()


async def _acquire(lock: ProfileLock) -> None:
    # flock cannot be awaited, and a thread that waits in it would hold up our end.
    deadline = asyncio.get_running_loop().time() + LOCK_TIMEOUT_S
    while not lock.acquire(wait=False):
        if asyncio.get_running_loop().time() >= deadline:
            raise CouldNotConnect(
                "Another megabot command has been renewing this credential for too long",
                "End it, or try again.",
            )
        await asyncio.sleep(LOCK_RETRY_S)


async def _finish(work: Awaitable[T], name: str) -> T:
    """Await `work`; when cancelled meanwhile, let it come to its end for a moment."""

    async def run() -> T:
        return await work

    task = asyncio.get_running_loop().create_task(run(), name=name)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            await asyncio.wait([task], timeout=CANCELLED_GRACE_S)
        raise
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        if task.done() and not task.cancelled():
            task.exception()  # looked at, whether or not anybody waits for it
