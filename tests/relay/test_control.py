"""An operator talks to the running relay; nobody else can make it do anything."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from megabot_cli.commands.admin_request import FIELDS
from megabot_cli.errors import CouldNotConnect
from megabot_cli.gateway.server import Gateway
from megabot_cli.relay.server import Relay
from megabot_cli.storage.recording_reader import open_recording
from tests.relay.conftest import Stage, until
from tests.support.upstream import Connection, ScriptedUpstream

ALLOWED = {"Authorization": "Bearer the-client-token", "X-Megabot-Control": "1"}


async def ask(stage: Stage, relay: Relay, what: str) -> Any:
    async with stage.http.get(f"{relay.admin_url}/relay/{what}") as response:
        assert response.status == 200
        return await response.json()


async def tell(
    stage: Stage, relay: Relay, deed: str, headers: dict[str, str] | None = None, **wishes: Any
) -> tuple[int, Any]:
    url = f"{relay.admin_url}/relay/{deed}"
    given = ALLOWED if headers is None else headers
    async with stage.http.post(url, json=wishes, headers=given) as response:
        return response.status, await response.json()


async def test_status_clients_and_sessions_tell_what_is_there(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url)
    peer, session = await stage.greeted(relay.url, client_id="ada", role="executor")
    await peer.send("chat_send", "m1", content="hello")
    await peer.message("chat_receive")
    status = await ask(stage, relay, "status")
    assert (status["clients"], status["links"], status["ready"]) == (1, {"up": 1}, True)
    assert status["messages"]["to_upstream"] == 1
    assert status["replies"]["count"] == 1
    (client,) = await ask(stage, relay, "clients")
    assert (client["name"], client["session"], client["role"]) == ("ada", session, "executor")
    assert client["messages"]["to_upstream"] == 1
    assert tuple(client) == FIELDS["clients"]
    (facts,) = await ask(stage, relay, "sessions")
    assert tuple(facts) == FIELDS["sessions"]
    assert (facts["session"], facts["state"], facts["clients"]) == (session, "up", 1)


async def test_a_fault_is_told_without_the_secret_that_it_speaks_of(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url)
    await stage.greeted(relay.url)
    relay.sessions[0].link.fault = CouldNotConnect(f"nobody takes {stage.api_key} any more")
    async with stage.http.get(f"{relay.admin_url}/readyz") as response:
        ready = await response.text()
    told = [await ask(stage, relay, what) for what in ("status", "sessions")]
    assert "nobody takes" in told[0]["fault"]
    assert "nobody takes" in told[1][0]["fault"]
    assert stage.api_key not in f"{told}{ready}"


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("mode", ["session", "shared", "dedicated"])
async def test_the_slowest_replies_are_told_with_whose_they_are(
    stage: Stage, mode: str, named: bool
) -> None:
    async def answers(connection: Connection) -> None:
        await connection.greet("sess_1")
        while True:
            message = await connection.receive()
            await asyncio.sleep(message["payload"]["after"])
            more = {"reply_to": message["id"]} if named else {}
            await connection.stream("so", "it is", **more)
            await connection.send("chat_receive", {"content": "so it is"}, **more)

    async with ScriptedUpstream(answers) as upstream:
        relay = await stage.open_relay(upstream.url, mode=mode)
        peer = await stage.connect(relay.url, query={"client_id": "ada"})
        await peer.message("connection_established")
        for message_id, after_s in (("quick", 0.0), ("slow", 0.6), ("middle", 0.3)):
            await peer.send("chat_send", message_id, after=after_s)
            await peer.message("chat_receive")
        told = (await ask(stage, relay, "status"))["slowest_replies"]
        (client,) = await ask(stage, relay, "clients")
        await peer.socket.close()
        await relay.stop()
    assert [each["id"] for each in told] == ["slow", "middle", "quick"]
    assert 0.6 <= told[0]["took_s"] < 5
    assert 0 <= told[0]["age_s"] < 5
    assert told[0]["type"] == "chat_send"
    assert {each["client"] for each in told} == {client["name"] or client["id"]}
    assert {each["session"] for each in told} == {"sess_1"}


@pytest.mark.parametrize(("deed", "word"), [("close", "id"), ("mark", "text"), ("level", "level")])
async def test_a_deed_without_a_word_says_which(
    stage: Stage, gateway: Gateway, deed: str, word: str
) -> None:
    relay = await stage.open_relay(gateway.url)
    for given in ({}, {word: 1}, {word: ""}, {word: "  "}):
        status, answer = await tell(stage, relay, deed, **given)
        assert (status, answer["message"]) == (400, f"the body names no {word}")


@pytest.mark.parametrize("mode", ["session", "dedicated"])
async def test_a_client_can_be_closed_by_its_id(stage: Stage, gateway: Gateway, mode: str) -> None:
    relay = await stage.open_relay(gateway.url, mode=mode)
    peer, _ = await stage.greeted(relay.url)
    (client,) = await ask(stage, relay, "clients")
    assert await tell(stage, relay, "close", id=client["id"], reason="enough") == (
        200,
        {"done": "close", "closed": "client"},
    )
    assert await peer.close_code() == 1001
    await until(lambda: relay.gauges().clients == 0)


async def test_a_client_a_session_and_a_link_can_be_closed_by_name(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url)
    named, session = await stage.greeted(relay.url, client_id="ada")
    other, _ = await stage.greeted(relay.url, session)
    assert (await tell(stage, relay, "close", id="ada"))[1]["closed"] == "client"
    assert await named.close_code() == 1001
    (facts,) = await ask(stage, relay, "sessions")
    assert (await tell(stage, relay, "close", id=facts["link"]))[1]["closed"] == "link"
    assert (await other.message("status_update"))["payload"]["status"] == "reconnecting"
    assert (await other.message("status_update"))["payload"]["status"] == "connected"
    assert (await tell(stage, relay, "close", id=session))[1]["closed"] == "session"
    assert await other.close_code() == 1001
    await until(lambda: not relay.gauges().sessions)
    status, body = await tell(stage, relay, "close", id="nobody")
    assert status == 404
    assert "nobody" in body["message"]


async def test_a_mark_is_in_the_recording(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url, record=True)
    assert (await tell(stage, relay, "mark", text="deployed 1.4"))[0] == 200
    await relay.stop()
    assert relay.recorder is not None
    with open_recording(relay.recorder.folder) as reader:
        assert [record.note for record in reader if record.kind == "mark"] == ["deployed 1.4"]


async def test_a_drain_that_was_asked_for_stops_the_relay(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url)
    peer, _ = await stage.greeted(relay.url)
    assert (await tell(stage, relay, "drain"))[0] == 200
    assert await peer.close_code() == 1012
    async with asyncio.timeout(5):
        await relay.wait_stopped()


async def test_reauth_brings_back_a_link_whose_credential_was_refused(stage: Stage) -> None:
    allowed = True

    def gate(_request: aiohttp.web.Request) -> aiohttp.web.Response | None:
        return None if allowed else aiohttp.web.json_response({"message": "no"}, status=401)

    async with ScriptedUpstream(gate=gate) as upstream:
        relay = await stage.open_relay(upstream.url)
        peer, session = await stage.greeted(relay.url)
        allowed = False
        await upstream.connections[0].cut()
        assert await peer.close_code() == 4500
        assert (await ask(stage, relay, "status"))["links"] == {"failed": 1}
        allowed = True
        assert (await tell(stage, relay, "reauth"))[1]["links"] == 1
        _, again = await stage.greeted(relay.url, session)
        assert again == session


async def test_who_is_connected_is_told_to_whoever_may_connect_and_numbers_to_all(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url, require_token=True)
    for path, without in (("relay/clients", 401), ("relay/sessions", 401), ("metrics", 200)):
        for headers, status in (({}, without), (ALLOWED, 200)):
            async with stage.http.get(f"{relay.admin_url}/{path}", headers=headers) as response:
                assert response.status == status, path


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 403, id="nothing"),
        pytest.param({"Authorization": ALLOWED["Authorization"]}, 403, id="no header"),
        pytest.param({"X-Megabot-Control": "1"}, 401, id="no token"),
        pytest.param({**ALLOWED, "Authorization": "Bearer wrong"}, 401, id="wrong token"),
        pytest.param({**ALLOWED, "Origin": "https://evil.example"}, 403, id="a foreign page"),
        pytest.param({**ALLOWED, "Host": "evil.example"}, 403, id="a rebound name"),
    ],
)
async def test_deeds_want_the_token_and_a_header_no_page_can_send(
    stage: Stage, gateway: Gateway, headers: dict[str, str], status: int
) -> None:
    relay = await stage.open_relay(gateway.url)
    for deed in ("close", "drain", "reauth", "mark", "level", "dump", "reload"):
        assert (await tell(stage, relay, deed, headers))[0] == status
    assert not relay.draining


@pytest.mark.parametrize("body", [b"no JSON", b"[1]", b'{"text": 5}', b'{"text": ""}', b"\xff"])
async def test_a_body_of_no_use_is_400(stage: Stage, gateway: Gateway, body: bytes) -> None:
    relay = await stage.open_relay(gateway.url)
    url = f"{relay.admin_url}/relay/mark"
    async with stage.http.post(url, data=body, headers=ALLOWED) as response:
        assert response.status == 400
        assert (await response.json())["message"]


async def test_the_level_can_be_changed_and_shows_each_message(
    stage: Stage, gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    relay = await stage.open_relay(gateway.url)
    peer, _ = await stage.greeted(relay.url)
    assert (await tell(stage, relay, "level", level="loud"))[0] == 400
    assert (await tell(stage, relay, "level", level="debug"))[0] == 200
    await peer.send("chat_send", "m_shown", content="x")
    await peer.message("chat_receive")
    assert (await tell(stage, relay, "level", level="info"))[0] == 200
    await peer.send("chat_send", "m_hidden", content="x")
    await peer.message("chat_receive")
    logged = capsys.readouterr().out
    assert "m_shown" in logged
    assert "m_hidden" not in logged
