"""The credential, the socket, and the conversation on it."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

import aiohttp
import msgspec

from megabot_cli.client.connection import ARRIVING_FACTOR
from megabot_cli.client.credentials import Credential
from megabot_cli.client.dial import dial
from megabot_cli.client.endpoint import Endpoint
from megabot_cli.client.refusals import ASKS_LIKE_A_RELAY
from megabot_cli.client.wire_form import WireForm, open_signer
from megabot_cli.config.schema import Dialect
from megabot_cli.doctor.case import Upstream
from megabot_cli.doctor.conversation import Conversation
from megabot_cli.doctor.findings import Finding, ok, warn
from megabot_cli.doctor.relay import is_relay
from megabot_cli.errors import (
    CouldNotConnect,
    MegabotError,
    NotAuthenticated,
    NotPermitted,
    UpstreamRefused,
)
from megabot_cli.wording import about

PINGS = 3
PING_LIMIT_S = 5.0
SLOW_PING_S = 1.0
DIAL_LIMIT_S = 10.0
ENDS_SOON_S = 300.0


async def credential(
    upstream: Upstream, endpoint: Endpoint, http: aiohttp.ClientSession, *, reachable: bool
) -> tuple[Finding, Credential | None]:
    """The check `login`. A credential that is due is renewed where the upstream can be reached."""
    if endpoint.unix_path is not None:
        return ok("none needed at a socket of this machine", relay=True), None
    stored_at = await asyncio.to_thread(upstream.stored_at)
    found = await asyncio.to_thread(upstream.find_credential)
    at_relay = reachable and await is_relay(http, endpoint)
    if found is None:
        if at_relay:
            said = "none needed: a relay listens there, and logs in itself"
            return ok(said, relay=True), None
        raise _none_there(upstream, endpoint, stored_at)
    if reachable:
        found = await upstream.token_source(http, found).current() or found
    judged = _judge(found, stored_at, upstream, endpoint)
    if at_relay:  # which may want its client token
        facts = {**judged.facts, "relay": True}
        said = f"{judged.message}; a relay listens there"
        judged = msgspec.structs.replace(judged, message=said, facts=facts)
    return judged, found


def _none_there(upstream: Upstream, endpoint: Endpoint, stored_at: str | None) -> NotAuthenticated:
    name = upstream.configuration.profile_name
    what = f"Profile {name!r} has no credential for {endpoint.address}"
    if stored_at is not None:
        what = f"The credential of profile {name!r} was given for another upstream"
    return NotAuthenticated(what, _login(upstream, endpoint))


def _login(upstream: Upstream, endpoint: Endpoint) -> str:
    """What is typed to log in there."""
    name = upstream.configuration.profile_name
    profile = "" if name == "default" else f" -p {name}"
    elsewhere = (
        f" --url {endpoint.socket_url}" if upstream.configuration.url_is_for_this_run else ""
    )
    return f"`megabot{profile} login{elsewhere}`"


def _judge(
    found: Credential, stored_at: str | None, upstream: Upstream, endpoint: Endpoint
) -> Finding:
    kind = "an API key" if found.kind == "api_key" else "a token"
    whose = f" of {found.username}" if found.username else ""
    variable = "MEGABOT_API_KEY" if found.kind == "api_key" else "MEGABOT_TOKEN"
    kept = f"given by {variable}" if stored_at == "environment" else f"kept in {stored_at}"
    said = f"{kind}{whose}, {kept}"
    facts: dict[str, Any] = {
        "kind": found.kind,
        "username": found.username,
        "stored": stored_at,
        "expires_at": found.expires_at,
        "renewable": found.refresh_token is not None,
    }
    if found.expires_at is None:
        return ok(said, **facts)
    left_s = found.expires_at - time.time()
    fix = f"{_login(upstream, endpoint)} gets a new one."
    if stored_at == "environment":
        fix = f"Give {variable} a new one, or unset it to use what `megabot login` stores."
    if left_s <= 0:
        raise NotAuthenticated(f"The credential ended {about(-left_s)} ago", fix)
    said = f"{said}, good for {about(left_s)}"
    if left_s < ENDS_SOON_S and found.refresh_token is None:
        return warn(f"{said} and not renewable", fix, **facts)
    return ok(said, **facts)


class Caller:
    """Opens connections to the upstream, each time the same way."""

    def __init__(
        self,
        upstream: Upstream,
        endpoint: Endpoint,
        http: aiohttp.ClientSession,
        used: Credential | None,
        ssl: Any,
    ) -> None:
        self._upstream = upstream
        self._endpoint = endpoint
        self._http = http
        self._credential = used
        self._ssl = ssl
        self._profile = upstream.configuration.profile
        self._most_bytes = (
            upstream.configuration.settings.limits.max_message_bytes * ARRIVING_FACTOR
        )

    async def variable(self) -> str | None:
        """The variable that the credential comes from."""
        if await asyncio.to_thread(self._upstream.stored_at) != "environment":
            return None
        is_key = self._credential is not None and self._credential.kind == "api_key"
        return "MEGABOT_API_KEY" if is_key else "MEGABOT_TOKEN"

    async def open(
        self, session: str | None = None, gzip: bool = False, dialect: Dialect | None = None
    ) -> Conversation:
        profile = self._profile
        form = WireForm(
            signer=open_signer(profile.integrity.key_file),
            require_signatures=profile.integrity.require,
            most_bytes=self._most_bytes,
        )
        dialed = await dial(
            self._http,
            self._endpoint,
            self._credential,
            session_id=session,
            platform=profile.platform,
            send_in=profile.credential_in,
            dialect=dialect or profile.dialect,
            timeout_s=DIAL_LIMIT_S,
            heartbeat_s=None,
            max_message_bytes=self._most_bytes,
            compression="gzip" if gzip else profile.compression,
            autoping=False,
            ssl=self._ssl,
        )
        assert dialed.greeting is not None
        return Conversation(dialed.socket, dialed.greeting, form)


async def open_socket(caller: Caller, dialect: Dialect) -> tuple[Finding, Conversation]:
    """The check `socket`: upgrade and greeting. Another dialect is found out."""
    began = time.perf_counter()
    try:
        line = await caller.open()
    except (NotAuthenticated, NotPermitted) as fault:
        if ASKS_LIKE_A_RELAY in fault.message:  # of a relay: the hint says what helps there
            raise
        if isinstance(fault, NotAuthenticated) and (variable := await caller.variable()):
            fix = f"Give {variable} a good one, or unset it to use what `megabot login` stores."
            fault = NotAuthenticated(fault.message, fix)
        # The flat dialect wants its token in the query, where we do not put ours to find out.
        if dialect == "flat":
            raise fault from None
        maybe = " Does it speak the flat dialect? Then set the profile's dialect."
        raise type(fault)(fault.message, f"{fault.hint or ''}{maybe}".strip()) from None
    except UpstreamRefused as fault:
        other: Dialect = "megabot" if dialect == "flat" else "flat"
        if not await _speaks(caller, other):
            raise
        raise UpstreamRefused(
            f"{fault.message}: it speaks the dialect {other!r}",
            f"Set the profile's dialect: {other}",
        ) from None
    took_ms = (time.perf_counter() - began) * 1000
    return ok(f"open and greeted in {took_ms:.0f} ms"), line


async def require_link(line: Conversation) -> None:
    """Raises CouldNotConnect where a relay has greeted us whose own link is down."""
    await line.ping(PING_LIMIT_S)
    if line.link_is_down is not None:
        words = f"greeted by the relay, but {line.link_is_down}"
        raise CouldNotConnect(words, "See that it runs; the relay dials it again by itself.")


async def _speaks(caller: Caller, dialect: Dialect) -> bool:
    try:
        line = await caller.open(dialect=dialect)
    except MegabotError:
        return False
    await line.end()
    return True


async def ping(line: Conversation) -> Finding:
    """How long the way there and back takes."""
    times = [await line.ping(PING_LIMIT_S) for _ in range(PINGS)]
    median = statistics.median(times)
    facts = {"median_s": round(median, 5), "least_s": round(min(times), 5), "count": len(times)}
    said = f"there and back in {median * 1000:.1f} ms (median of {len(times)})"
    if median > SLOW_PING_S:
        return warn(said, "The line is slow: answers will begin late.", **facts)
    return ok(said, **facts)


def dialect(line: Conversation) -> Finding:
    """What the greeting says of the upstream."""
    greeting = line.greeting
    if greeting.dialect == "flat":
        return ok("flat: JSON without envelopes, sessions or chunks", dialect="flat")
    able = ", ".join(greeting.capabilities) or "none"
    return ok(
        f"envelopes; it says it can: {able}",
        dialect="megabot",
        capabilities=list(greeting.capabilities),
    )
