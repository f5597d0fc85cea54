"""A session outlives its connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import aiohttp
import pytest

from megabot_cli.config.schema import OutboxSettings
from megabot_cli.gateway.accounts import Users
from megabot_cli.gateway.assistants.interface import Turn
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import DEADLINE_S, House, Message


class Stepwise:
    """Gives one chunk each time the test says so."""

    def __init__(self) -> None:
        self.steps: asyncio.Queue[str | None] = asyncio.Queue()

    async def answer(self, text: str, history: Sequence[Turn]) -> AsyncGenerator[str, None]:
        while (step := await self.steps.get()) is not None:
            yield step

    def say(self, *steps: str | None) -> None:
        for step in steps:
            self.steps.put_nowait(step)

    async def said_all(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not self.steps.empty():  # noqa: ASYNC110 (a queue has no such event)
                await asyncio.sleep(0.001)
        await asyncio.sleep(0)


def chunk_texts(messages: list[Message]) -> list[str]:
    return [one["payload"]["chunk"] for one in messages if one["type"] == "chat_stream"]


async def test_a_connection_without_session_id_gets_a_new_session(house: House) -> None:
    async with house.connected() as one, house.connected() as other:
        assert one.session_id != other.session_id
        assert house.gateway.session_count == 2


async def test_a_session_is_resumed_by_its_id(house: House) -> None:
    async with house.connected() as peer:
        session_id = peer.session_id
    async with house.connected(session_id=session_id) as peer:
        assert peer.session_id == session_id
        await peer.answer(await peer.say("back again"))


@pytest.mark.parametrize("asked", ["sess_unknown", "", "x" * 5000, "\u00e9", "' OR 1=1 --"])
async def test_an_unknown_session_gives_a_new_one_and_says_so(house: House, asked: str) -> None:
    async with house.connected(session_id=asked) as peer:
        assert peer.session_id.startswith("sess_1")
        assert peer.session_id != asked


async def test_the_session_of_another_user_is_not_given(open_house: OpenHouse) -> None:
    users = Users.in_memory(cost=2)
    users.add("ada", "lovelace")
    users.add("eve", "x")
    house = await open_house(users=users)
    async with house.connected() as ada:
        asked = await ada.say("a secret")
        eve_key = users.add_api_key("eve")
        async with house.connected(key=eve_key, session_id=ada.session_id) as eve:
            assert eve.session_id != ada.session_id
            assert eve.user_id != ada.user_id
            await eve.answer(await eve.say("anything?"))
            assert "a secret" not in str(eve.received)
        await ada.answer(asked)


async def test_what_was_not_delivered_when_the_link_dropped_comes_upon_resume_in_order(
    open_house: OpenHouse,
) -> None:
    assistant = Stepwise()
    house = await open_house(assistant=assistant)
    async with house.connected() as peer:
        asked = await peer.say("go on")
        assistant.say("one ", "two ")
        await peer.until("chat_stream")
        await peer.until("chat_stream")
        await house.gateway.drop_all()
        session_id = peer.session_id
    assistant.say("three ", "four", None)
    await assistant.said_all()
    async with house.connected(session_id=session_id) as peer:
        messages = await peer.answer(asked)
        assert chunk_texts(messages) == ["three ", "four", ""]
        assert messages[-1]["payload"]["content"] == "one two three four"


async def test_an_answer_goes_on_over_the_new_link_where_the_old_one_broke(
    open_house: OpenHouse,
) -> None:
    assistant = Stepwise()
    house = await open_house(assistant=assistant)
    seen: list[Message] = []
    session_id, asked = "", ""
    for round_number in range(10):
        async with house.connected(session_id=session_id) as peer:
            session_id = peer.session_id
            asked = asked or await peer.say("count")
            assistant.say(f"{round_number}a ", f"{round_number}b ")
            if round_number:
                await peer.until("chat_stream")  # what was said while nobody was there
            await peer.until("chat_stream")
            await peer.until("chat_stream")
            await house.gateway.drop_all()
        assistant.say(f"{round_number}c ")
        await assistant.said_all()
        seen += peer.received
    assistant.say(None)
    async with house.connected(session_id=session_id) as peer:
        seen += await peer.answer(asked)
    sequence = [one["payload"]["sequence"] for one in seen if one["type"] == "chat_stream"]
    assert sequence == list(range(1, 32))


async def test_answers_go_to_every_connection_of_the_session(house: House) -> None:
    async with (
        house.connected() as one,
        house.connected(session_id=one.session_id) as other,
        house.connected() as stranger,
    ):
        asked = await one.say("hello both")
        assert await one.answer(asked) == await other.answer(asked)
        await stranger.answer(await stranger.say("mine"))
        assert "hello both" not in str(stranger.received)


async def test_what_one_connection_received_is_not_repeated_to_the_next(house: House) -> None:
    async with house.connected() as peer:
        await peer.answer(await peer.say("once"))
        session_id = peer.session_id
    async with house.connected(session_id=session_id) as peer:
        await peer.answer(await peer.say("twice"))
        assert "once" not in str(peer.received)


async def test_a_backlog_that_was_too_small_says_how_much_is_missing(
    open_house: OpenHouse,
) -> None:
    assistant = Stepwise()
    outbox = OutboxSettings(messages=20, bytes=100_000)  # half of it is what a session keeps
    house = await open_house(assistant=assistant, outbox=outbox)
    async with house.connected() as peer:
        asked = await peer.say("much")
        assistant.say("0 ")
        await peer.until("chat_stream")
        await house.gateway.drop_all()
    assistant.say(*(f"{n} " for n in range(1, 31)), None)
    await assistant.said_all()
    async with house.connected(session_id=peer.session_id) as peer:
        notice = await peer.next()
        assert notice["type"] == "notification"
        assert notice["payload"]["type"] == "warning"
        assert notice["payload"]["message"].startswith("22 messages")
        messages = await peer.answer(asked)
        assert chunk_texts(messages) == [f"{n} " for n in range(23, 31)] + [""]
        assert messages[-1]["payload"]["content"].endswith("29 30 ")


async def test_accepted_messages_are_answered_though_their_sender_left(
    open_house: OpenHouse,
) -> None:
    house = await open_house(limits={"messages_per_second": 50.0, "burst": 2.0})
    async with house.connected() as peer:
        asked = [await peer.say(f"message {n}") for n in range(12)]
        session_id = peer.session_id
        await peer.socket.close()
    async with house.connected(session_id=session_id) as peer:
        await peer.answer(asked[-1])
        whole = [one for one in peer.received if one["type"] == "chat_receive"]
    assert {one["metadata"]["reply_to"] for one in whole} <= set(asked)
    assert whole[-1]["metadata"]["reply_to"] == asked[-1]


async def test_a_session_nobody_uses_is_forgotten_after_its_lifetime(open_house: OpenHouse) -> None:
    house = await open_house(gateway={"session_lifetime_s": 0.2})
    async with house.connected() as peer:
        used = peer.session_id
        async with house.connected() as other:
            forgotten = other.session_id
        async with asyncio.timeout(DEADLINE_S):
            while house.gateway.session_count > 1:  # noqa: ASYNC110 (seen from outside)
                await asyncio.sleep(0.01)
        async with house.connected(session_id=forgotten) as other:
            assert other.session_id != forgotten
        async with house.connected(session_id=used) as other:
            assert other.session_id == used


async def test_a_ping_is_answered_with_its_payload(house: House) -> None:
    async with house.http.ws_connect(
        house.gateway.url, headers={"X-API-Key": house.key}, autoping=False
    ) as socket:
        await socket.receive()
        await socket.ping(b"are you there")
        pong = await socket.receive(DEADLINE_S)
        assert (pong.type, pong.data) == (aiohttp.WSMsgType.PONG, b"are you there")


async def test_a_peer_that_answers_no_ping_is_let_go(open_house: OpenHouse) -> None:
    house = await open_house(heartbeat_s=0.1)
    async with house.http.ws_connect(
        house.gateway.url, headers={"X-API-Key": house.key}, autoping=False
    ) as socket:
        async with asyncio.timeout(DEADLINE_S):
            kinds = [(await socket.receive()).type]
            while kinds[-1] in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.PING):
                kinds.append((await socket.receive()).type)
        assert aiohttp.WSMsgType.PING in kinds
        assert house.gateway.connection_count == 0


async def test_a_peer_that_answers_pings_stays(open_house: OpenHouse) -> None:
    house = await open_house(heartbeat_s=0.4)
    async with house.http.ws_connect(
        house.gateway.url, headers={"X-API-Key": house.key}, autoping=False
    ) as socket:
        await socket.receive()
        for _ in range(3):
            ping = await socket.receive(DEADLINE_S)
            assert ping.type is aiohttp.WSMsgType.PING
            await socket.pong(ping.data)
        assert house.gateway.connection_count == 1
