"""The relay on this machine: whether one runs for the profile, and whether it is well.

A relay may also be what the profile's url names, as if it were an upstream.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import aiohttp

from megabot_cli.client.endpoint import Endpoint, parse_endpoint
from megabot_cli.client.network_faults import NETWORK_FAULTS
from megabot_cli.client.refusals import ASKS_LIKE_A_RELAY, clean
from megabot_cli.config.listen import unix_path
from megabot_cli.doctor.case import Case
from megabot_cli.doctor.findings import Finding, ok, skipped, warn
from megabot_cli.errors import CouldNotConnect, NotPermitted, UpstreamRefused
from megabot_cli.storage.run_files import RunningRelay
from megabot_cli.wording import counted

ASK_LIMIT_S = 3.0
MOST_BYTES = 1024 * 1024

# In which words the relay says that its credential is of no use.
_OF_NO_USE = ("refused the credential", "no longer accepts")

# How the page at / begins, where a relay's clients connect and where its operator does.
_FOR_CLIENTS = "megabot relay: "
_FOR_OPERATOR = "megabot relay "


def relay_at(named: Endpoint, running: Iterable[RunningRelay]) -> RunningRelay | None:
    """The relay that clients reach at `named`, of those that serve several profiles the newest."""
    there = [each for each in running if _listens_at(each, named)]
    path = named.socket_path
    same_path = [each for each in there if parse_endpoint(each.url).socket_path == path]
    return max(same_path or there, key=lambda each: each.started_at, default=None)


def _listens_at(relay: RunningRelay, named: Endpoint) -> bool:
    return _address(parse_endpoint(relay.url)) == _address(named)


def _address(endpoint: Endpoint) -> str:
    return endpoint.origin.replace("//localhost", "//127.0.0.1")


async def is_relay(http: aiohttp.ClientSession, endpoint: Endpoint) -> bool:
    """Whether what listens there calls itself a relay. Nothing secret is sent to hear that.

    Raises UpstreamRefused where it is a relay's address for its operator.
    """
    try:
        async with (
            asyncio.timeout(ASK_LIMIT_S),
            http.get(f"{endpoint.origin}/", allow_redirects=False) as response,
        ):
            said = (await response.content.read(MOST_BYTES)).decode(errors="replace")
    except NETWORK_FAULTS:
        return False
    if said.startswith(_FOR_OPERATOR):
        for_clients = clean(said.rstrip().rpartition("\n")[2])
        raise UpstreamRefused(f"{endpoint.origin} is for a relay's operator", f"{for_clients}.")
    return said.startswith(_FOR_CLIENTS) or ASKS_LIKE_A_RELAY in said


async def relay(case: Case, endpoint: Endpoint) -> Finding:
    if case.upstream is None:
        return skipped("the configuration cannot be used")
    running = case.upstream.relay
    if running is None:
        return ok("none runs for this profile; `megabot relay` starts one", running=False)
    facts = await _status(running, case.upstream.client_token)
    told = {
        name: facts.get(name)
        for name in ("version", "mode", "url", "ready", "draining", "clients", "sessions", "fault")
    }
    found = {"running": True, "pid": running.pid, **told}
    return _judge(running, facts, found, case.version, endpoint)


async def _status(running: RunningRelay, token: str | None) -> dict[str, Any]:
    """What it says of itself. Raises CouldNotConnect when it says nothing."""
    headers = {"X-Megabot-Control": "1"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    silent = CouldNotConnect(
        f"The relay with process number {running.pid} does not answer at {running.admin_url}",
        f"Look at its log; `kill {running.pid}` ends it.",
    )
    path = unix_path(running.admin_url)
    base = running.admin_url if path is None else "http://localhost"
    connector = aiohttp.UnixConnector(str(path)) if path is not None else None
    try:
        async with (
            asyncio.timeout(ASK_LIMIT_S),
            aiohttp.ClientSession(trust_env=False, connector=connector) as http,
            http.get(f"{base}/relay/status", headers=headers) as response,
        ):
            body, status = await response.content.read(MOST_BYTES), response.status
            facts = json.loads(body) if status == 200 else None
    except (*NETWORK_FAULTS, RecursionError):
        raise silent from None
    if status in (401, 403):
        raise NotPermitted(
            f"The relay at {running.admin_url} does not let us in", "Is it another user's?"
        )
    if not isinstance(facts, dict):
        raise silent
    return facts


def _judge(
    running: RunningRelay, facts: dict[str, Any], found: dict[str, Any], ours: str, named: Endpoint
) -> Finding:
    recording = facts.get("recording") or {}
    if recording.get("fault"):
        fix = "Make room or mend the folder's permissions; then `megabot relay reload`."
        return warn(f"it no longer records: {recording['fault']}", fix, **found)
    is_named = _listens_at(running, named)
    if facts.get("fault") or not facts.get("ready"):
        why = facts.get("fault") or "it is not ready"
        profile = "" if running.profile == "default" else f" -p {running.profile}"
        more = f"`megabot{profile} relay status` says more."
        if any(words in why for words in _OF_NO_USE):
            more = f"`megabot{profile} login`, then `megabot{profile} relay reauth`."
        return warn(f"at {running.url}, {why}", more, **found)
    ends_at = facts.get("certificate_ends_at")
    if isinstance(ends_at, int | float) and ends_at < time.time():
        on = datetime.fromtimestamp(ends_at, tz=UTC).date()
        fix = "Renew relay.tls_cert_file; then `megabot relay reload` has the relay show it."
        return warn(f"its certificate at {running.url} ended on {on}", fix, **found)
    its, here = running.upstream, named.origin
    if not is_named and (its, running.upstream_path) != (here, named.socket_path):
        if its == here:
            its, here = its + running.upstream_path, here + named.socket_path
        fix = "Commands go straight to the profile's url; restart the relay to have it follow."
        return warn(f"it serves {its}, the profile names {here}", fix, **found)
    if facts.get("version") != ours:
        fix = "Restart it to have it be the same version as this command."
        return warn(f"it is version {facts.get('version')}, this is {ours}", fix, **found)
    well = f"well, at {running.url}, {counted(facts.get('clients') or 0, 'client')}"
    if not is_named:
        return ok(well, **found)
    return ok(f"{well}; the profile names this relay, {_links(facts)}", **found)


def _links(facts: dict[str, Any]) -> str:
    links = facts.get("links") or {}
    up, known = links.get("up", 0), sum(links.values())
    if not known:
        return "no link is open until a client comes"
    return f"{counted(up, 'link')} up" if up == known else f"{up} of {known} links up"
