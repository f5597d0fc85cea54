"""Have a credential that is valid now, and share it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import aiohttp

from megabot_cli.client.credentials import Credential, CredentialStore, ProfileLock
from megabot_cli.client.endpoint import Endpoint
from megabot_cli.client.login_requests import Tls, login, refresh
from megabot_cli.client.refusals import LOG_IN, refused_credential, who_of
from megabot_cli.errors import CouldNotConnect, MegabotError, NotAuthenticated

__all__ = ["TokenSource", "login", "refresh"]

LOCK_TIMEOUT_S = 15.0
LOCK_RETRY_S = 0.05

# A renewal that is cancelled may have spent the refresh token already: so long it may
# still take to bring the new one home.
CANCELLED_GRACE_S = 0.5

# Links that fall together hear together that their credential is of no use.
REFUSAL_SHARED_S = 0.3

T = TypeVar("T")


class TokenSource:
    """The one place that has a valid credential of one identity.

    Renews it before it expires, and once when it was refused, for all who ask at the same
    time; with a store also for all processes, under the profile's lock. One that the store does
    not take is used all the same. `login` is a user name and password to log in with when nothing
    else helps.
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
        self._rest: tuple[float, MegabotError] | None = None  # until when, and who asked for it
        self._refusal: tuple[float, str, NotAuthenticated] | None = None  # when, of which secret
        self._unstored_after: str | None = None  # the secret that stands in the store instead
        self.on_unstored: Callable[[MegabotError], None] = lambda _: None  # why a new one is not
        self.refusals = 0  # in a row: times that all who asked together were refused
        self.outcomes: Counter[str] = Counter()  # of renewals: renewed, refused, failed
        self._tell: Callable[[list[str]], None] | None = None

    def tell_secrets(self, tell: Callable[[list[str]], None]) -> None:
        """Call `tell` with the secrets in use: now, and with others before they are used."""
        self._tell = tell
        self._tell_of(self._credential)

    def _tell_of(self, credential: Credential | None) -> None:
        if self._tell is not None:
            self._tell(self._secrets_with(credential))

    def _secrets_with(self, credential: Credential | None) -> list[str]:
        proofs = (credential.secret, credential.refresh_token) if credential is not None else ()
        password = self._login[1] if self._login is not None else None
        return [secret for secret in (*proofs, password) if secret]

    @property
    def credential(self) -> Credential | None:
        """The one in use, as it is."""
        return self._credential

    @property
    def secrets(self) -> list[str]:
        """Those in use now."""
        return self._secrets_with(self._credential)

    @property
    def expires_at(self) -> float | None:
        """When the credential ends, Unix seconds; None when that is not known."""
        return self._credential.expires_at if self._credential is not None else None

    @property
    def obtained_at(self) -> float | None:
        """Since when this process has the credential, Unix seconds; None when it has none."""
        return self._obtained_at if self._credential is not None else None

    @property
    def due(self) -> bool:
        """Whether it is time to renew it, or there is none."""
        return self._is_due(self._credential)

    @property
    def renewable(self) -> bool:
        """Whether the credential can be renewed without anybody logging in."""
        return self._renewable(self._credential)

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
            stored = await self._stored_by_others()
            if stored is not None and stored.secret != refused.secret:
                return self._keep(stored)
            if self._refusal is not None:
                at, secret, refusal = self._refusal
                if secret == refused.secret and time.monotonic() - at < REFUSAL_SHARED_S:
                    raise NotAuthenticated(refusal.message, refusal.hint)
            try:
                return await self._after_refusal(refused)
            except NotAuthenticated as refusal:
                self.refusals += 1
                self._refusal = time.monotonic(), refused.secret, refusal
                raise

    async def _after_refusal(self, refused: Credential) -> Credential:
        if not self._renewable(refused):
            what = "API key" if refused.kind == "api_key" else "login"
            raise NotAuthenticated(
                f"{who_of(self._endpoint.address)} no longer accepts this {what}", LOG_IN
            )
        return await self._renew(refused)

    def accepted(self) -> None:
        """The upstream has let somebody in: what it refused before counts no longer."""
        self.refusals = 0

    def refused_since(self, when: float, most: int) -> NotAuthenticated | None:
        """Why there is no credential, where it was refused `most` times in a row, and the last
        time after `when` (monotonic seconds)."""
        if self.refusals < most or self._refusal is None:
            return None
        at, _, refusal = self._refusal
        return NotAuthenticated(refusal.message, refusal.hint) if at > when else None

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
        self._keep_resting()
        try:
            renewed = await _finish(self._renew_once(old), "renew the credential")
        except MegabotError as fault:
            self.outcomes["refused" if isinstance(fault, NotAuthenticated) else "failed"] += 1
            if fault.retry_after_s:
                self._rest = time.monotonic() + fault.retry_after_s, fault
            raise
        self.outcomes["renewed"] += 1
        return renewed

    def _keep_resting(self) -> None:
        """An upstream that says when to come again has said so to all who come."""
        if self._rest is None:
            return
        until, fault = self._rest
        left_s = until - time.monotonic()
        if left_s > 0:
            raise type(fault)(fault.message, fault.hint, retry_after_s=left_s)
        self._rest = None

    async def _renew_once(self, old: Credential | None) -> Credential:
        async with self._profile_lock():
            stored = await self._stored_by_others()
            if stored is not None and (old is None or stored.secret != old.secret):
                # Another process renewed it; its refresh token replaced ours.
                if not self._is_due(stored):
                    return self._keep(stored)
                old = stored
                self._tell_of(old)
            credential = await self._obtain(old)
            self._tell_of(credential)
            # Before it is stored, which a full disk refuses: the one before may be spent.
            self._keep(credential)
            if not self.unstored:
                self._unstored_after = old.secret if old is not None else ""
            try:
                await self._store_it(credential)
            except MegabotError as fault:
                self.on_unstored(fault)
            return credential

    @property
    def unstored(self) -> bool:
        """Whether the credential in use could not be stored when it was renewed."""
        return self._unstored_after is not None

    def has_renewed(self, stored: Credential | None) -> bool:
        """Whether the credential in use came after `stored`, and could not take its place."""
        return stored is not None and stored.secret == self._unstored_after

    async def store_again(self) -> None:
        """Store the credential in use where that had failed, unless somebody has stored another
        one since. Raises BadConfiguration as long as it fails."""
        async with self._turn, self._profile_lock():
            if self._credential is None or await self._stored_by_others() is not None:
                self._unstored_after = None
            elif self.unstored:
                await self._store_it(self._credential)

    async def _store_it(self, credential: Credential) -> None:
        if self._store is not None:
            await asyncio.to_thread(self._store.save, self._profile, credential)
        self._unstored_after = None

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
        self._tell_of(credential)
        return credential

    async def _stored(self) -> Credential | None:
        if self._store is None:
            return None
        return await asyncio.to_thread(self._store.load, self._profile, self._endpoint.origin)

    async def _stored_by_others(self) -> Credential | None:
        """What is stored, but for what ours is newer than."""
        stored = await self._stored()
        return None if self.has_renewed(stored) else stored

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
