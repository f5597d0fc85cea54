"""All checks in their order, each finding handed out as soon as it is made.

A check whose foundation failed is skipped and says so. What a check raises is its failure.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import msgspec

from megabot_cli.client.credentials import Credential
from megabot_cli.client.dial import connector_for
from megabot_cli.client.endpoint import Endpoint, parse_endpoint
from megabot_cli.doctor import abilities, certificates, local, network, upstream
from megabot_cli.doctor.case import Case, Upstream
from megabot_cli.doctor.conversation import Conversation
from megabot_cli.doctor.findings import Finding, fail, named, skipped
from megabot_cli.doctor.relay import relay
from megabot_cli.errors import MegabotError


class Check(msgspec.Struct, frozen=True):
    """One line of the examination: its name, what must hold before it, what it looks at."""

    name: str
    asks: str  # what is being looked at, for whoever waits
    needs: tuple[str, ...] = ()


CHECKS = (
    Check("configuration", "settings"),
    Check("permissions", "who may read our files"),
    Check("disk", "room for recordings"),
    Check("keyring", "the system's keyring"),
    Check("relay", "the relay on this machine", ("configuration",)),
    Check("name", "where the upstream is", ("configuration",)),
    Check("tcp", "whether its port answers", ("name",)),
    Check("tls", "its certificate", ("tcp",)),
    Check("clock", "what time it is there", ("tcp",)),
    Check("login", "the credential", ("configuration",)),
    Check("socket", "upgrade and greeting", ("tcp", "tls", "login")),
    Check("ping", "the way there and back", ("socket",)),
    Check("dialect", "what it speaks", ("socket",)),
    Check("metadata", "whether answers name their request", ("socket",)),
    Check("batch", "several messages in one", ("socket",)),
    Check("compression", "what makes messages shorter", ("socket",)),
    Check("resume", "whether a session outlives its line", ("socket",)),
)

_ENVELOPES_ONLY = frozenset({"metadata", "batch", "resume"})


async def examine(
    case: Case, on_begin: Callable[[Check], None] = lambda _: None
) -> AsyncIterator[Finding]:
    """Every check's finding, in order. `on_begin` hears which one is being made."""
    examination = Examination(case)
    try:
        for check in CHECKS:
            on_begin(check)
            yield await examination.make(check)
    finally:
        await examination.close()


class Examination:
    """What is known so far, and what is open."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._findings: dict[str, Finding] = {}
        self._endpoint: Endpoint | None = None
        self._addresses: list[str] = []
        self._http: aiohttp.ClientSession | None = None
        self._trust: Any = True
        self._credential: Credential | None = None
        self._line: Conversation | None = None

    async def make(self, check: Check) -> Finding:
        """One check, whatever happens in it."""
        began = time.perf_counter()
        finding = self._missing_foundation(check)
        if finding is None:
            look: Callable[[], Awaitable[Finding]] = getattr(self, f"_{check.name}")
            try:
                finding = await look()
            except MegabotError as fault:
                finding = fail(fault)
            except Exception as fault:
                # A check that breaks must not keep the others from being made. What a library
                # says may hold the URL with a token in it.
                broken = f"this check itself broke ({type(fault).__name__})"
                finding = fail(MegabotError(broken, "Please report it."))
        took_s = None if finding.verdict == "skipped" else time.perf_counter() - began
        self._findings[check.name] = found = named(finding, check.name, took_s)
        return found

    def _missing_foundation(self, check: Check) -> Finding | None:
        for name in check.needs:
            before = self._findings[name]
            if name == "configuration" and self._case.upstream is not None:
                continue  # what is wrong in it has nothing to do with the way to the upstream
            if before.verdict == "fail":
                return skipped(f"{name} failed")
            if before.verdict == "skipped" and name != "tls":
                return skipped(before.message)
        flat = self._line is not None and self._line.greeting.dialect == "flat"
        if flat and check.name in _ENVELOPES_ONLY:
            return skipped("the flat dialect has none")
        return None

    async def close(self) -> None:
        try:
            if self._line is not None:
                await self._line.end()
        finally:
            if self._http is not None:
                await self._http.close()

    # -- what the checks stand on --------------------------------------------------------

    @property
    def _upstream(self) -> Upstream:
        assert self._case.upstream is not None, "the configuration was found good"
        return self._case.upstream

    @property
    def _at(self) -> Endpoint:
        if self._endpoint is None:
            self._endpoint = parse_endpoint(self._upstream.configuration.profile.url)
        return self._endpoint

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                connector=connector_for(self._at, self._trust), cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._http

    def _failed(self, name: str) -> bool:
        return self._findings[name].verdict in ("fail", "skipped")

    @property
    def _is_relay(self) -> bool:
        """Whether a relay listens where the upstream was looked for."""
        return "relay" in self._findings["login"].facts

    def _caller(self) -> upstream.Caller:
        return upstream.Caller(
            self._upstream, self._at, self._session(), self._credential, self._trust
        )

    async def _talk(self) -> Conversation:
        """The open connection; one that an earlier question broke is opened anew."""
        if self._line is None or self._line.socket.closed:
            self._line = await self._caller().open()
        return self._line

    # -- the checks --------------------------------------------------------------------------

    async def _configuration(self) -> Finding:
        return await local.configuration(self._case)

    async def _permissions(self) -> Finding:
        return await local.permissions(self._case)

    async def _disk(self) -> Finding:
        return await local.disk(self._case)

    async def _keyring(self) -> Finding:
        return await local.keyring(self._case)

    async def _relay(self) -> Finding:
        return await relay(self._case, self._at)

    async def _name(self) -> Finding:
        finding, self._addresses = await network.look_up(self._at)
        return finding

    async def _tcp(self) -> Finding:
        return await network.connect(self._at, self._addresses, self._case.proxies)

    async def _tls(self) -> Finding:
        if self._at.unix_path is not None:
            return skipped("a socket of this machine has none")
        self._trust = self._upstream.trust()
        tls = self._upstream.configuration.profile.tls
        return await certificates.examine(self._at, self._trust, tls)

    async def _clock(self) -> Finding:
        trusted = not self._failed("tls")
        return await network.compare_clocks(self._session(), self._at, trusted=trusted)

    async def _login(self) -> Finding:
        reachable = not (self._failed("tcp") or self._findings["tls"].verdict == "fail")
        finding, self._credential = await upstream.credential(
            self._upstream, self._at, self._session(), reachable=reachable
        )
        return finding

    async def _socket(self) -> Finding:
        dialect = self._upstream.configuration.profile.dialect
        finding, self._line = await upstream.open_socket(self._caller(), dialect)
        if self._is_relay:
            await upstream.require_link(self._line)
        return finding

    async def _ping(self) -> Finding:
        return await upstream.ping(await self._talk())

    async def _dialect(self) -> Finding:
        return upstream.dialect(await self._talk())

    async def _metadata(self) -> Finding:
        return await abilities.metadata(await self._talk())

    async def _batch(self) -> Finding:
        return await abilities.batch(await self._talk())

    async def _compression(self) -> Finding:
        if self._is_relay:
            return skipped("a relay does not compress for its clients")
        line = await self._talk()
        asked = self._upstream.configuration.profile.compression
        if line.greeting.dialect == "flat":
            return abilities.deflate_alone(line, asked)
        return await abilities.compression(line, asked, self._caller().open)

    async def _resume(self) -> Finding:
        line = await self._talk()
        return await abilities.resume(line, self._caller().open)
