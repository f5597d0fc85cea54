"""The gateway in the flat dialect, seen by a client that is none of ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from megabot_cli.config.schema import GatewaySettings, IntegritySettings, LimitSettings
from megabot_cli.errors import BadConfiguration
from megabot_cli.gateway.flat import GREETING, FlatGateway, load_token, new_token

TOKEN = "a-static-token"
DEADLINE_S = 10.0

AnyJson = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FLAT_TYPES = ["message", "set_mode", "command", "approve_action", "reject_action", "other"]
FLAT_FIELDS = ["content", "mode", "command", "action_id", "payload"]


class Flat:
    """One connection."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def text(self) -> str:
        async with asyncio.timeout(DEADLINE_S):
            return str(await self.socket.receive_str())

    async def message(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await self.text())
        return message

    async def send(self, **message: Any) -> None:
        await self.socket.send_str(json.dumps(message))

    async def say(self, text: str) -> str:
        await self.socket.send_str(text)
        return await self.text()

    async def is_served(self) -> None:
        """The connection still answers."""
        await self.send(type="set_mode", mode="still here")
        while '"still here"' not in await self.text():
            continue


class House:
    def __init__(self, gateway: FlatGateway, http: aiohttp.ClientSession) -> None:
        self.gateway = gateway
        self.http = http

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Flat]:
        async with self.http.ws_connect(self.gateway.url, params={"token": TOKEN}) as socket:
            peer = Flat(socket)
            assert (await peer.message())["content"] == GREETING
            yield peer


@asynccontextmanager
async def open_house(**limits: Any) -> AsyncIterator[House]:
    gateway = FlatGateway(
        GatewaySettings(listen="127.0.0.1:0", latency_s=0, chunk_delay_s=0),
        LimitSettings(**{"messages_per_second": 0.0, **limits}),
        token=TOKEN,
    )
    await gateway.start()
    try:
        async with aiohttp.ClientSession() as http:
            yield House(gateway, http)
    finally:
        await gateway.stop()


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with open_house() as opened:
        yield opened


async def test_the_greeting_is_a_message_of_megabot_with_an_iso_time(house: House) -> None:
    async with house.http.ws_connect(house.gateway.url, params={"token": TOKEN}) as socket:
        greeting = await Flat(socket).message()
    assert (greeting["type"], greeting["sender"]) == ("message", "MegaBot")
    assert datetime.fromisoformat(greeting["timestamp"]).tzinfo is not None


async def test_a_message_is_answered_by_the_assistant_in_one_message(house: House) -> None:
    async with house.connected() as peer:
        await peer.send(type="message", content="hello there")
        answer = await peer.message()
    assert sorted(answer) == ["content", "sender", "timestamp", "type"]
    assert (answer["type"], answer["sender"]) == ("message", "MegaBot")
    assert answer["content"].startswith("You said “hello there” to me")


async def test_answers_come_in_the_order_of_the_questions(house: House) -> None:
    async with house.connected() as peer:
        for number in range(20):
            await peer.send(type="message", content=f"question-{number}")
        answers = [(await peer.message())["content"] for _ in range(20)]
    for number, answer in enumerate(answers):
        assert f"“question-{number}”" in answer


async def test_set_mode_is_confirmed_to_who_sent_it(house: House) -> None:
    async with house.connected() as peer, house.connected() as other:
        await peer.send(type="set_mode", mode="build")
        assert await peer.message() == {"type": "mode_updated", "mode": "build"}
        await other.send(type="set_mode", mode="plan")
        assert await other.message() == {"type": "mode_updated", "mode": "plan"}


async def test_a_command_waits_for_approval_and_everybody_is_told(house: House) -> None:
    async with house.connected() as asker, house.connected() as other:
        await asker.send(type="command", command="rm -rf /")
        assert await asker.message() == {
            "type": "status",
            "content": "Command queued for approval: rm -rf /",
        }
        asked = await asker.message()
        assert asked == await other.message()
        assert asked["type"] == "approval_required"
        assert asked["action"]["type"] == "system_command"
        assert asked["action"]["payload"]["params"] == {"command": "rm -rf /"}

        await other.send(type="approve_action", action_id=asked["action"]["id"])
        for peer in (asker, other):
            decided = await peer.message()
            assert decided["type"] == "status"
            assert "Approved: rm -rf /" in decided["content"]
            assert "runs no commands" in decided["content"]
        await asker.send(type="reject_action", action_id=asked["action"]["id"])
        assert (await asker.text()).startswith("Error 400: No action ")


async def test_a_rejected_command_is_told_to_everybody(house: House) -> None:
    async with house.connected() as peer:
        await peer.send(type="command", command="ls")
        await peer.message()
        asked = await peer.message()
        await peer.send(type="reject_action", action_id=asked["action"]["id"])
        assert await peer.message() == {"type": "status", "content": "Rejected: ls"}


@pytest.mark.parametrize("query", [{}, {"token": ""}, {"token": "wrong"}, {"token": "ä"}])
async def test_a_bad_token_is_a_plain_403_before_the_upgrade(
    house: House, query: dict[str, str]
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await house.http.ws_connect(house.gateway.url, params=query)
    assert refused.value.status == 403
    url = f"{house.gateway.http_url}/ws"
    async with house.http.get(url) as answer:
        assert (answer.status, answer.content_type) == (403, "text/plain")
        assert await answer.text() == "Forbidden\n"
    assert house.gateway.connection_count == 0


async def test_a_header_does_not_let_in(house: House) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "X-API-Key": TOKEN}
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await house.http.ws_connect(house.gateway.url, headers=headers)
    assert refused.value.status == 403


async def test_other_addresses_answer_in_plain_text(house: House) -> None:
    async with house.http.post(f"{house.gateway.http_url}/api/auth/login", json={}) as answer:
        assert (answer.status, await answer.text()) == (404, "Not Found\n")
    async with house.http.get(f"{house.gateway.http_url}/") as answer:
        listed = await answer.text()
    assert "/healthz" in listed
    assert "/api/" not in listed
    async with house.http.get(f"{house.gateway.http_url}/ws", params={"token": TOKEN}) as answer:
        assert (answer.status, answer.headers["Upgrade"]) == (426, "websocket")
    async with house.http.get(f"{house.gateway.http_url}/healthz") as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello", "$: expected JSON"),
        ("", "$: expected JSON"),
        ("[1, 2]", "$: expected object, got a list"),
        ("{}", "$.type: expected message or set_mode"),
        ('{"type":"nope"}', "got nope"),
        ('{"type":7}', "got a number"),
        ('{"type":"message"}', "$.content: expected text, got nothing"),
        ('{"type":"message","content":""}', "got an empty text"),
        ('{"type":"message","content":["x"]}', "got a list"),
        ('{"type":"set_mode","mode":null}', "$.mode: expected text, got nothing"),
        ('{"type":"command","command":true}', "got a boolean"),
        ('{"type":"message","content":"\\ud800"}', "$: expected JSON"),
        ("[" * 10_000 + "]" * 10_000, "$: expected JSON"),
        ('{"type":"message","content":' + "9" * 5_000 + "}", "$"),
        (json.dumps({"type": "message", "content": "x" * 10_001}), "10001 characters"),
        ('{"id":"1","type":"chat_send","payload":{"content":"x"}}', "got chat_send"),
    ],
)
async def test_what_is_wrong_is_answered_in_plain_text_and_the_connection_stays(
    house: House, text: str, said: str
) -> None:
    async with house.connected() as peer:
        answer = await peer.say(text)
        assert answer.startswith("Error 400: ")
        assert said in answer
        with pytest.raises(json.JSONDecodeError):
            json.loads(answer)
        await peer.is_served()


async def test_binary_is_refused_in_plain_text(house: House) -> None:
    async with house.connected() as peer:
        await peer.socket.send_bytes(b"\x00\xff")
        assert (await peer.text()).startswith("Error 400: ")
        await peer.is_served()


async def test_text_that_is_not_utf8_ends_the_connection(house: House) -> None:
    async with house.connected() as peer:
        await peer.socket.send_frame(b"\xff\xfe", aiohttp.WSMsgType.TEXT)
        ended = await peer.socket.receive(timeout=DEADLINE_S)
        assert (ended.type, ended.data) == (aiohttp.WSMsgType.CLOSE, 1007)


async def test_a_message_beyond_the_limit_is_refused_with_413() -> None:
    async with open_house(max_message_bytes=2_000) as house, house.connected() as peer:
        fits = json.dumps({"type": "message", "content": "x", "more": ""})
        fits = fits.replace('""', f'"{"y" * (2_000 - len(fits))}"')
        assert len(fits) == 2_000
        assert "You said" in await peer.say(fits)
        assert (await peer.say(fits + " ")).startswith("Error 413: ")


async def test_what_comes_too_fast_is_refused_with_429() -> None:
    limits = {"messages_per_second": 0.001, "burst": 1, "queue": 2}
    async with open_house(**limits) as house, house.connected() as peer:
        for _ in range(4):
            await peer.send(type="set_mode", mode="build")
        assert (await peer.message())["type"] == "mode_updated"
        assert (await peer.text()).startswith("Error 429: ")


async def test_the_oldest_command_gives_way_when_nobody_decides(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("megabot_cli.gateway.flat.MOST_AWAITING_APPROVAL", 2)
    async with house.connected() as peer:
        actions = []
        for number in range(3):
            await peer.send(type="command", command=f"c{number}")
            await peer.message()
            actions.append((await peer.message())["action"]["id"])
        await peer.send(type="approve_action", action_id=actions[0])
        assert (await peer.text()).startswith("Error 400: ")
        await peer.send(type="approve_action", action_id=actions[2])
        assert (await peer.message())["content"].startswith("Approved: c2")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.one_of(
            st.text(max_size=50),
            st.binary(max_size=50),
            AnyJson.map(json.dumps),
            st.fixed_dictionaries(
                {"type": st.sampled_from(FLAT_TYPES)},
                optional={field: st.text(max_size=20) | AnyJson for field in FLAT_FIELDS},
            ).map(json.dumps),
        ),
        max_size=6,
    )
)
def test_whatever_comes_the_connection_goes_on(messages: list[str | bytes]) -> None:
    async def talk() -> None:
        async with open_house() as house, house.connected() as peer:
            for message in messages:
                if isinstance(message, bytes):
                    await peer.socket.send_bytes(message)
                else:
                    await peer.socket.send_str(message.encode("utf-8", "replace").decode())
            await peer.is_served()

    asyncio.run(talk())


async def test_connections_that_come_and_go_leave_nothing_behind(house: House) -> None:
    async def visit(number: int) -> None:
        async with house.connected() as peer:
            if number % 2:
                await peer.send(type="message", content="are you there?")

    await asyncio.gather(*(visit(number) for number in range(100)))
    async with asyncio.timeout(DEADLINE_S):
        while house.gateway.connection_count:  # noqa: ASYNC110  the gateway's own state
            await asyncio.sleep(0.005)


def test_the_token_is_made_once_and_kept_for_its_owner_only(tmp_path: Path) -> None:
    token, made = load_token(tmp_path)
    assert made
    assert load_token(tmp_path) == (token, False)
    assert {entry.stat().st_mode & 0o777 for entry in tmp_path.iterdir()} == {0o600}
    assert len({new_token() for _ in range(10)}) == 10


def test_signatures_are_not_promised_where_none_can_be() -> None:
    signed = GatewaySettings(integrity=IntegritySettings(require=True))
    with pytest.raises(BadConfiguration, match="signatures"):
        FlatGateway(signed, LimitSettings(), token=TOKEN)


def test_a_scenario_is_for_the_main_dialect() -> None:
    with pytest.raises(BadConfiguration, match="main dialect"):
        FlatGateway(GatewaySettings(scenario="happy"), LimitSettings(), token=TOKEN)


def test_an_empty_token_is_no_open_door() -> None:
    with pytest.raises(BadConfiguration):
        FlatGateway(GatewaySettings(), LimitSettings(), token="")
