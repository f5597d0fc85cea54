"""Tokens that end, are refused, or cannot be renewed: one renewal for all, and no client lost."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import signal
import time
from typing import Any

import pytest
from aiohttp import web

from tests.faults.rig import Rig
from tests.faults.upstreams import answer
from tests.support.disks import fill, small_disk
from tests.support.upstream import Connection

RENEWED = 'auth_refreshes_total{outcome="renewed"}'


def part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


class Issuer:
    """Issues tokens that say when they end, and knows which are good."""

    def __init__(self, lifetime_s: float = 3600.0, *, refreshes_once: bool = False) -> None:
        self.lifetime_s = lifetime_s
        self._refreshes_once = refreshes_once  # each refresh token is good for one renewal
        self._refresh_token = "again"
        self.good: set[str] = set()
        self.trouble: list[web.Response | float] = []  # an answer, or seconds to wait first
        self.renewals: list[float] = []
        self._numbers = itertools.count(1)

    def token(self) -> str:
        end = int(time.time() + self.lifetime_s)
        claims = {"sub": "ada", "exp": end, "jti": next(self._numbers)}
        token = f"{part({'alg': 'HS256'})}.{part(claims)}.c2ln"
        self.good.add(token)
        return token

    def issue(self, body: dict[str, Any]) -> web.Response:
        if self._refreshes_once:
            self._refresh_token = f"again {next(self._numbers)}"
        return web.json_response({"token": self.token(), "refresh_token": self._refresh_token})

    async def renew(self, body: dict[str, Any]) -> web.StreamResponse:
        self.renewals.append(time.monotonic())
        if self.trouble:
            first = self.trouble.pop(0)
            if isinstance(first, web.Response):
                return first
            await asyncio.sleep(first)
        if body["refresh_token"] != self._refresh_token:
            return web.json_response({"error": "used already"}, status=401)
        return self.issue(body)

    def gate(self, request: web.Request) -> web.StreamResponse | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return None if token in self.good else web.Response(status=401)


async def talk(connection: Connection) -> None:
    await connection.greet()
    while True:
        await answer(connection, await connection.receive())


async def opened(rig: Rig, issuer: Issuer) -> Any:
    """A relay that is logged in; the wires to its upstream."""
    server = await rig.upstream(
        talk, on_login=issuer.issue, on_refresh=issuer.renew, gate=issuer.gate
    )
    network = await rig.network(server.url)
    await rig.log_in(network.url())
    await rig.open_relay(network.url(), key=None)
    return network


async def test_401_on_dial_is_one_renewal_for_all_links_and_no_client_is_lost(rig: Rig) -> None:
    issuer = Issuer()
    network = await opened(rig, issuer)
    clients = [await rig.client() for _ in range(5)]
    issuer.good.clear()  # revoked, as a restart of the upstream with another key does
    network.cut()
    for client in clients:
        await client.until(lambda client=client: "connected" in client.statuses(), 30)  # type: ignore[misc]
        await client.ask("hello")
        assert await client.settled() == {"reply": 1}
    assert len(issuer.renewals) == 1
    assert await rig.metric(RENEWED) == 1


async def test_a_token_that_ends_while_links_are_up_is_renewed_before_and_nobody_notices(
    rig: Rig,
) -> None:
    issuer = Issuer(lifetime_s=2.5)
    network = await opened(rig, issuer)
    clients = [await rig.client() for _ in range(3)]
    await rig.metric_reaches(RENEWED, 2)
    for client in clients:
        await client.ask("hello")
        assert await client.settled() == {"reply": 1}
        assert client.statuses() == []
    assert network.connections < 3 + 20  # links and renewals, and no crowd


async def test_a_disk_that_is_full_when_a_token_is_renewed_costs_no_credential(rig: Rig) -> None:
    issuer = Issuer(lifetime_s=2.5, refreshes_once=True)
    folder = rig.processes.home / "credentials"
    disk = rig.stack.enter_context(small_disk(folder, "size=64k,mode=700"))
    network = await opened(rig, issuer)
    client = await rig.client()
    with pytest.raises(OSError, match="No space left"):
        fill(disk / "rest")
    await rig.logged("credential.not_stored")
    reauth = await asyncio.to_thread(rig.processes.run, "relay", "reauth")
    assert reauth.wait() == 0
    await rig.metric_reaches(RENEWED, 3)
    network.cut()
    await client.until(lambda: "connected" in client.statuses(), 30)
    await client.ask("hello")
    assert await client.settled() == {"reply": 1}
    (disk / "rest").unlink()
    # Stored by itself, or as the next renewal is: of two more one began after there was room.
    await rig.metric_reaches(RENEWED, await rig.metric(RENEWED) + 2)
    rig.relay.signal(signal.SIGTERM)
    assert await rig.ends() == 0
    issuer.lifetime_s = 3600.0
    known = await asyncio.to_thread(rig.processes.run, "whoami", "--url", network.url())
    assert known.wait() == 0, known.errors


@pytest.mark.parametrize(
    "trouble",
    [
        [web.Response(status=500)] * 2,
        [web.Response(status=429, headers={"Retry-After": "2"})],
        [2.0],
    ],
    ids=["500", "429", "slow"],
)
async def test_a_renewal_in_trouble_is_tried_with_patience_until_it_works(
    rig: Rig, trouble: list[web.Response | float]
) -> None:
    issuer = Issuer()
    network = await opened(rig, issuer)
    clients = [await rig.client() for _ in range(5)]
    issuer.trouble = list(trouble)
    issuer.good.clear()
    network.cut()
    began = time.monotonic()
    for client in clients:
        await client.until(lambda client=client: "connected" in client.statuses(), 40)  # type: ignore[misc]
        await client.ask("hello")
        assert await client.settled() == {"reply": 1}
    assert len(issuer.renewals) == len([t for t in trouble if not isinstance(t, float)]) + 1
    if isinstance(trouble[0], web.Response) and trouble[0].status == 429:
        assert issuer.renewals[1] - issuer.renewals[0] >= 2.0  # Retry-After is honoured
    assert time.monotonic() - began < 40


async def test_a_refused_renewal_is_told_to_clients_and_reauth_tries_again(rig: Rig) -> None:
    issuer = Issuer()
    network = await opened(rig, issuer)
    client = await rig.client()
    issuer.trouble = [web.json_response({"error": "no"}, status=401) for _ in range(20)]
    issuer.good.clear()
    network.cut()
    await asyncio.wait_for(client.closed.wait(), 30)
    assert client.close_code == 4500
    assert client.errors() == ["authentication_failed"]
    assert await rig.metric('links{profile="default",state="failed"}') == 1
    asked = len(issuer.renewals)
    await asyncio.sleep(2)
    assert len(issuer.renewals) == asked == 3  # nobody is locked out by our tries
    issuer.trouble = []
    await rig.log_in(network.url())
    done = await asyncio.to_thread(rig.processes.run, "relay", "reauth")
    assert done.end() == 0, done.errors
    again = await rig.client(session_id=client.session)
    await again.ask("hello")
    assert await again.settled() == {"reply": 1}


async def test_an_upstream_that_refuses_for_a_moment_loses_no_client(rig: Rig) -> None:
    issuer = Issuer()
    network = await opened(rig, issuer)
    clients = [await rig.client() for _ in range(5)]
    issuer.trouble = [web.json_response({"error": "no"}, status=401) for _ in range(2)]
    issuer.good.clear()
    network.cut()
    for client in clients:
        await client.until(lambda client=client: "connected" in client.statuses(), 30)  # type: ignore[misc]
        await client.ask("hello")
        assert await client.settled() == {"reply": 1}
        assert client.errors() == []
    assert len(issuer.renewals) == 3


async def test_what_is_refused_for_good_is_told_to_all_clients_at_once(rig: Rig) -> None:
    """The pace of dials is one a second: not every link needs to hear it for itself."""
    issuer = Issuer()
    network = await opened(rig, issuer)
    clients = [await rig.client() for _ in range(20)]
    issuer.trouble = [web.json_response({"error": "no"}, status=401) for _ in range(100)]
    issuer.good.clear()
    network.cut()
    async with asyncio.timeout(8):
        for client in clients:
            await client.closed.wait()
    assert {client.close_code for client in clients} == {4500}
    assert len(issuer.renewals) == 3
    assert await rig.metric('links{profile="default",state="failed"}') == 20

    issuer.trouble.clear()
    assert (await asyncio.to_thread(rig.processes.run, "relay", "reauth")).end() == 0
    again = await rig.client()
    await again.ask("hello")
    assert await again.settled() == {"reply": 1}
