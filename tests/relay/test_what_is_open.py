"""Whatever a client's message was waiting for, it ends in an answer or an error that names it."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

import megabot_cli.relay.session
from megabot_cli.config.schema import LimitSettings, OutboxSettings
from megabot_cli.protocol.close_codes import CloseCode
from tests.relay.conftest import Peer, Stage, enveloped, hears_nothing, until
from tests.support.upstream import Connection, ScriptedUpstream


async def errors(peer: Peer, count: int) -> list[tuple[str, str | None]]:
    """What the next errors say, and of which message."""
    told = [await peer.message("connection_error") for _ in range(count)]
    return [(each["payload"]["error"], each.get("metadata", {}).get("reply_to")) for each in told]


async def test_what_is_open_when_the_credential_is_refused_is_told_by_id_before_the_close(
    stage: Stage,
) -> None:
    refuses = False

    def gate(_request: web.Request) -> web.Response | None:
        return web.Response(status=401) if refuses else None

    async with ScriptedUpstream(gate=gate) as upstream:
        relay = await stage.open_relay(upstream.url)
        peer, _ = await stage.greeted(relay.url)
        await peer.send("chat_send", "m0", content="no answer")
        await until(lambda: len(relay.sessions[0].routing))
        refuses = True
        await upstream.connections[0].cut()
        await peer.message("status_update")
        await peer.send("chat_send", "m1", content="waits")
        assert await errors(peer, 3) == [
            ("delivery_unknown", "m0"),
            ("upstream_unavailable", "m1"),
            ("authentication_failed", None),
        ]
        assert await peer.close_code() == 4500


async def test_what_is_open_on_a_session_that_an_operator_closes_is_told_by_id(
    stage: Stage,
) -> None:
    async with ScriptedUpstream() as upstream:
        limits = LimitSettings(messages_per_second=0.1, burst=1)
        relay = await stage.open_relay(upstream.url, limits=limits)
        peer, session = await stage.greeted(relay.url)
        for number in range(2):
            await peer.send("chat_send", f"m{number}", content="no answer")
        await until(lambda: relay.numbers.messages_to_upstream == 2)
        assert relay.operations.close(session, CloseCode.NORMAL, "enough") == "session"
        assert await errors(peer, 2) == [
            ("delivery_unknown", "m0"),
            ("upstream_unavailable", "m1"),
        ]
        assert await peer.close_code() == 1000


@pytest.mark.parametrize("at", ["it waits for it", "the relay has said goodbye"])
async def test_an_error_for_a_client_that_was_closed_before_it_read_it_is_told_when_it_is_back(
    stage: Stage, at: str
) -> None:
    async with ScriptedUpstream() as upstream:
        stall_s = 2.0 if at == "it waits for it" else 0.5
        relay = await stage.open_relay(
            upstream.url, wait_s=1.0, outbox=OutboxSettings(stall_s=stall_s, bytes=50_000_000)
        )
        peer, session = await stage.greeted(relay.url, client_id="ada")
        transport = peer.socket._response.connection.transport  # type: ignore[union-attr]
        assert transport is not None
        transport.pause_reading()
        for _ in range(30):
            await upstream.connections[0].send("notification", {"message": "y" * 500_000})
        await until(lambda: relay.local_clients[0].outbox.waiting_messages > 1)
        await upstream.stop()
        await until(lambda: not relay.sessions[0].link.up)
        await peer.send("chat_send", "m0", content="in vain")
        await until(lambda: relay.numbers.clients_closed[4008] == 1, limit_s=10)
        transport.abort()
        again, _ = await stage.greeted(relay.url, session, client_id="ada")
        assert await errors(again, 1) == [("upstream_unavailable", "m0")]
        await again.message("status_update")
        assert await hears_nothing(again)


async def test_a_batch_that_is_refused_is_told_by_the_ids_of_the_requests_in_it_too(
    stage: Stage,
) -> None:
    async with ScriptedUpstream() as upstream:
        limits = LimitSettings(messages_per_second=0.1, burst=1, queue=1)
        relay = await stage.open_relay(upstream.url, limits=limits)
        peer, _ = await stage.greeted(relay.url)
        for number in range(2):  # one leaves, one waits
            await peer.send("chat_send", f"m{number}", content="?")
        inner = [enveloped("chat_send", f"i{number}", content="?") for number in range(2)]
        await peer.send("batch", "b", messages=[*inner, enveloped("x", "no request", k=1)])
        assert await errors(peer, 3) == [("rate_limited", name) for name in ("b", "i0", "i1")]
        assert await hears_nothing(peer)


async def test_what_the_link_fell_under_as_it_was_to_leave_is_sent_later_and_not_doubted(
    stage: Stage,
) -> None:
    got: list[str] = []

    async def greet_anew(connection: Connection) -> None:
        await connection.greet(f"sess_{len(upstream.connections)}")
        while True:
            got.append((await connection.receive())["id"])

    async with ScriptedUpstream(greet_anew) as upstream:
        relay = await stage.open_relay(upstream.url)
        peer, _ = await stage.greeted(relay.url)
        session = relay.sessions[0]
        (client,) = session.clients.values()
        take = session.sink(client)
        # All within one turn of the event loop: what comes first is written at once.
        for name in ("m0", "m1"):
            take([json.dumps(enveloped("chat_send", name, content="hello")).encode()], False)
        session.link.drop()
        await until(lambda: got[-1:] == ["m1"], 10.0)
        assert len(upstream.connections) == 2
        assert session.routing.ids() == ["m1"]
        heard = [await peer.message() for _ in range(4)]
        kinds = ["status_update", "connection_error", "status_update", "connection_established"]
        assert sorted(each["type"] for each in heard) == sorted(kinds)
        (doubted,) = (each for each in heard if each["type"] == "connection_error")
        assert doubted["metadata"]["reply_to"] == "m0"
        assert relay.numbers.delivery_unknown == 1


async def test_an_id_that_was_answered_after_a_loss_may_be_used_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was doubted is settled: the new question has all the time of any other."""
    monkeypatch.setattr(megabot_cli.relay.session, "RESUMED_GRACE_S", 0.4)
    monkeypatch.setattr(megabot_cli.relay.session, "GRACE_CHECK_S", 0.05)

    async def cut_then_answer_once(connection: Connection) -> None:
        await connection.greet()
        if len(upstream.connections) == 1:
            await connection.receive()
            await connection.cut()
            return
        await connection.send("chat_receive", {"content": "late"}, reply_to="m1")
        await connection.receive()
        await connection.until_gone()

    async with ScriptedUpstream(cut_then_answer_once) as upstream:
        relay = await stage.open_relay(upstream.url)
        peer, _ = await stage.greeted(relay.url)
        await peer.send("chat_send", "m1", content="first")
        await peer.message("chat_receive", 10.0)
        await peer.send("chat_send", "m1", content="second")
        assert await hears_nothing(peer, 1.0)
        assert relay.numbers.delivery_unknown == 0
        assert relay.sessions[0].routing.ids() == ["m1"]
