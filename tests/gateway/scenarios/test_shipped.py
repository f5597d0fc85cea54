"""Each shipped scenario does what it says, to a real client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from megabot_cli.client import ClientEvent, MegaBotClient, Received
from megabot_cli.errors import (
    BadConfiguration,
    CouldNotConnect,
    NotAuthenticated,
    TimedOut,
    UpstreamRefused,
)
from megabot_cli.gateway.accounts import Users
from megabot_cli.gateway.scenarios.finding import find_scenario
from megabot_cli.protocol.backoff import Linear
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import House, Message, Peer
from tests.gateway.recorded import Script, served
from tests.gateway.scenarios.conftest import Playing


def client(house: House, on_event: Callable[[ClientEvent], None] | None = None) -> MegaBotClient:
    return MegaBotClient(
        house.gateway.url,
        api_key=house.key,
        reconnect=Linear(0.05),
        messages_per_second=0,
        on_event=on_event,
    )


async def test_happy_answers_the_same_each_time(playing: Playing) -> None:
    async with client(await playing("happy")) as ada:
        for _ in range(2):
            answer = await ada.ask("Hello there", timeout_s=10)
            assert answer.text == "Hello ada! What can I do for you?"
            assert answer.chunks > 3
        assert (await ada.ask("what is your status?", timeout_s=10)).text.startswith("All systems")
        assert (await ada.ask("thank you", timeout_s=10)).text == "You are welcome."
        assert (await ada.ask("good", timeout_s=10)).text.startswith("You said “good”")


async def test_flaky_network_is_survived_by_a_client_that_comes_back(playing: Playing) -> None:
    events: list[str] = []
    async with client(
        await playing("flaky-network"), lambda event: events.append(event.kind)
    ) as ada:
        session = ada.session_id
        assert (await ada.ask("one", timeout_s=10)).text.startswith("You said “one”")
        await ada.send("chat_send", {"content": "please cut the line"})
        async with asyncio.timeout(10):
            while "resumed" not in events:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (await ada.ask("two", timeout_s=10)).text.startswith("You said “two”")
        assert ada.session_id == session


async def test_flaky_network_has_the_same_faults_each_time(playing: Playing) -> None:
    # How much of the last words arrives before a reset is the network's own doing.
    text = find_scenario("flaky-network").read_text()
    uncut = text.replace("probability: 0.01", "probability: 0")
    assert uncut != text

    async def heard() -> list[int]:
        house = await playing(uncut)
        async with house.connected() as peer:
            for number in range(3):
                await peer.answer(await peer.say(f"{number} and then some more words to say here"))
            return [
                each["payload"]["sequence"]
                for each in peer.received
                if each["type"] == "chat_stream"
            ]

    first, second = await asyncio.gather(heard(), heard())
    assert first == second
    whole = first.count(1)
    assert first != [each for _ in range(whole) for each in range(1, max(first) + 1)]


async def test_slow_model_tells_its_progress_and_its_failure(playing: Playing) -> None:
    house = await playing("slow-model")
    async with house.connected() as peer:
        asked = await peer.say("fail, please")
        await peer.until("connection_error", asked)
        progress = [each["payload"].get("progress") for each in peer.received[:-1]]
        assert progress[-3:] == [0.3333, 0.6667, 1.0]
    async with client(house) as ada:
        with pytest.raises(UpstreamRefused, match="ran out of memory"):
            await ada.ask("fail again", timeout_s=10)
        with pytest.raises(TimedOut):
            await ada.ask("never end", timeout_s=0.6)
        pieces: list[str] = []
        answer = await ada.ask("a long one", timeout_s=30, on_chunk=pieces.append)
        assert answer.text == "".join(pieces)
        assert answer.total_s > 0.2


async def test_auth_trouble_is_by_the_name(open_house: OpenHouse) -> None:
    users = Users.in_memory(cost=2)
    for name in ("ada", "locked1", "busy1", "brief1", "banned1", "revoked1"):
        users.add(name, "lovelace")
    house = await open_house(gateway={"scenario": "auth-trouble"}, users=users)

    async def login(name: str) -> tuple[int, Message]:
        return await house.post("/api/auth/login", {"username": name, "password": "lovelace"})

    assert [(await login("ada"))[0], (await login("locked1"))[0]] == [200, 403]
    assert [(await login("busy1"))[0] for _ in range(3)] == [429, 429, 200]
    assert (await login("brief1"))[1]["expires_in"] == 2

    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        async with house.dialed(key=users.add_api_key("banned1")):
            pytest.fail("it must be refused")
    assert caught.value.status == 403

    async with house.connected(key=users.add_api_key("revoked1")) as peer:
        for word in ("one", "two", "three"):
            await peer.say(word)
        assert await peer.closed() == 1008
        assert peer.received[-1]["payload"]["code"] == 401


async def test_a_brief_token_is_refused_when_its_time_is_over(playing: Playing) -> None:
    house = await playing("seed: 1\nrules: [{when: login, steps: [{token_lifetime_s: 0.2}]}]\n")
    token = (await house.login())["token"]
    await _until_expired(house, token)
    with pytest.raises(NotAuthenticated):
        async with MegaBotClient(house.gateway.url, token=token, reconnect=None):
            pytest.fail("it must be refused")


async def _until_expired(house: House, token: str) -> None:
    """Return when the gateway knows the token no more."""
    async with asyncio.timeout(10):
        while True:
            async with house.http.ws_connect(house.gateway.url, params={"token": token}) as socket:
                if (await Peer(socket).next())["type"] == "connection_error":
                    return
            await asyncio.sleep(0.05)


async def test_a_refused_connection_is_told_to_a_client(playing: Playing) -> None:
    house = await playing("seed: 1\nrules: [{when: connect, steps: [{refuse: 503}]}]\n")
    started = time.monotonic()
    with pytest.raises((CouldNotConnect, UpstreamRefused)):
        async with MegaBotClient(house.gateway.url, api_key=house.key, reconnect=None):
            pytest.fail("it must be refused")
    assert time.monotonic() - started < 5


async def test_tool_heavy_works_with_the_tools_of_a_client(playing: Playing) -> None:
    async with client(await playing("tool-heavy")) as ada:

        async def give_results() -> None:
            async for received in ada:
                if _type(received) == "tool_call":
                    call = received.payload()
                    result = {"execution_id": call["execution_id"], "status": "completed"}
                    await ada.send("tool_result", {**result, "output": "mild in Amsterdam"})
                    return

        async with asyncio.TaskGroup() as work:
            work.create_task(give_results())
            answer = await ada.ask("how is the weather?", timeout_s=10)
        assert answer.text == "The tool says (completed): mild in Amsterdam"

        call: dict[str, Any] = {"tool_name": "lookup", "parameters": {}, "execution_id": "e1"}
        found = await ada.request("tool_call", call, timeout_s=10)
        payload = msgspec.json.decode(found.messages[-1])["payload"]
        assert payload["execution_id"] == "e1"
        assert payload["result"] == {"answer": 42, "source": "the scenario"}


async def test_a_recording_and_a_scenario_exclude_each_other(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    with pytest.raises(BadConfiguration, match="not both"):
        async with served(open_house, tmp_path, Script().greet(), gateway={"scenario": "happy"}):
            pytest.fail("it must not start")


async def test_collaboration_has_a_colleague_in_the_room(playing: Playing) -> None:
    house = await playing("collaboration")
    async with house.connected() as peer:
        await peer.send("session_join", {"session_id": "room"})
        greeting = await peer.until("collaborative_action")
        assert greeting["payload"]["user_id"] == "bea"
        edit = {"session_id": "room", "action": "edit", "data": {"line": 3}}
        for _ in range(2):
            await peer.send("collaborative_action", edit)
            await peer.until("collaborative_action")
            comment = await peer.until("collaborative_action")
            assert comment["payload"]["data"] == {"text": "Nice edit, ada!"}
        third = await peer.send("collaborative_action", edit)
        conflict = await peer.until("connection_error", third)
        assert conflict["payload"]["code"] == 409
        assert (await peer.answer(await peer.say("@bea are you here?")))[-1]["payload"] | {
            "timestamp": 0
        } == {
            "content": "I am on it, ada.",
            "sender": "bea",
            "platform": "megabot",
            "timestamp": 0,
        }


def _type(received: Received) -> str | None:
    return received.head.type if received.head is not None else None
