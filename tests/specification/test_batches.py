"""`batch` both ways: from a client as the specification's batcher sends it, and to one."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from megabot_cli.client.connection import MegaBotClient
from megabot_cli.config.schema import IntegritySettings
from megabot_cli.gateway.bundling import DELAY_S, Bundle, unbundled
from megabot_cli.protocol.batching import unwrap
from megabot_cli.protocol.signing import Signer
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import DEADLINE_S, House, Message, Peer, replied_to
from tests.gateway.test_sessions import Stepwise
from tests.gateway.test_signatures import KEY, key_file
from tests.protocol.specification_texts import SENT_BY_SNIPPETS

__all__ = ["key_file"]


async def heard_until_answered(peer: Peer, message_id: str) -> list[Message]:
    """All that a client was sent, as it was sent, up to the answer of a message."""
    heard: list[Message] = []
    while True:
        heard.append(await peer.next())
        for one in opened(heard[-1]):
            if one["type"] == "chat_receive" and replied_to(one) == message_id:
                return heard


def opened(message: Message) -> list[Message]:
    if message["type"] != "batch":
        return [message]
    messages: list[Message] = message["payload"]["messages"]
    return messages


def chat(number: int) -> Message:
    return {"id": f"b{number}", "type": "chat_send", "payload": {"content": f"no {number}"}}


async def test_the_batchers_message_is_answered_message_by_message(house: House) -> None:
    async with house.connected() as peer:
        await peer.send_text(SENT_BY_SNIPPETS["sent_by_message_batcher"])
        inner = json.loads(SENT_BY_SNIPPETS["sent_by_message_batcher"])["payload"]["messages"]
        for one in inner:
            await peer.answer(one["id"])


async def test_a_batch_may_mix_types_and_each_gets_its_own_answer(house: House) -> None:
    call = {"tool_name": "echo", "parameters": {}, "execution_id": "exec_1"}
    mixed: list[Message] = [
        {"id": "j", "type": "session_join", "payload": {"session_id": "room"}},
        {"id": "t", "type": "tool_call", "payload": call},
        {"id": "u", "type": "chat_sing", "payload": 1},
        chat(1),
    ]
    async with house.connected() as peer:
        await peer.send("batch", {"messages": mixed})
        await peer.answer("b1")
        await _until_replied(peer, {"j", "t", "u", "b1"})
    kinds = {replied_to(one): one["type"] for one in peer.received}
    assert kinds["j"] == "notification"
    assert kinds["t"] == "tool_result"
    assert kinds["u"] == "connection_error"


async def _until_replied(peer: Peer, wanted: set[str | None]) -> None:
    while not wanted <= {replied_to(one) for one in peer.received}:
        await peer.next()


async def test_a_client_that_asks_for_batches_gets_them(house: House) -> None:
    async with house.connected(batch="10") as peer:
        asked = await peer.say("one two three four five six seven eight")
        heard = await heard_until_answered(peer, asked)
    batches = [one for one in heard if one["type"] == "batch"]
    assert batches
    assert all(2 <= len(opened(one)) <= 10 for one in batches)
    messages = [inner for one in heard for inner in opened(one)]
    chunks = [one["payload"]["sequence"] for one in messages if one["type"] == "chat_stream"]
    assert chunks == list(range(1, len(chunks) + 1))


async def test_who_does_not_ask_for_batches_gets_none(house: House) -> None:
    for query in ({}, {"batch": ""}, {"batch": "0"}, {"batch": "1"}):
        async with house.connected(key=None, compress=0, **query) as peer:
            await peer.answer(await peer.say("one two three four five six seven eight"))
            assert "batch" not in {one["type"] for one in peer.received}


async def test_one_waiting_message_comes_alone_and_soon(open_house: OpenHouse) -> None:
    assistant = Stepwise()
    house = await open_house(assistant=assistant)
    async with house.connected(batch="10") as peer:
        asked = await peer.say("go on")
        assistant.say("one")
        alone = await peer.next()
        assert (alone["type"], alone["payload"]["chunk"]) == ("chat_stream", "one")
        assert replied_to(alone) == asked
        assistant.say(None)


async def test_greetings_and_refusals_wait_for_nobody(open_house: OpenHouse) -> None:
    assistant = Stepwise()
    house = await open_house(assistant=assistant)
    async with house.connected(batch="10") as peer:  # the greeting came as a message of its own
        asked = await peer.say("go on")
        assistant.say("one")
        refused = await peer.send("chat_send", {"content": ""})
        kinds = [(await peer.next())["type"] for _ in range(2)]
        assert sorted(kinds) == ["chat_stream", "connection_error"]
        assert {replied_to(one) for one in peer.received[1:]} == {asked, refused}
        assistant.say(None)


async def test_batches_together_with_gzip_and_signatures_are_read_by_our_client(
    open_house: OpenHouse, key_file: Any
) -> None:
    integrity = IntegritySettings(key_file=str(key_file), require=True)
    house = await open_house(gateway={"integrity": integrity})
    url = f"{house.gateway.url}?batch=10"
    async with MegaBotClient(
        url,
        api_key=house.key,
        compression="gzip",
        signer=Signer(KEY),
        require_signatures=True,
    ) as client:
        answer = await client.ask("word " * 1000, timeout_s=DEADLINE_S)
        assert "word word" in answer.text
        assert client.unsigned == 0


async def test_what_waited_for_company_is_not_lost_with_the_line(open_house: OpenHouse) -> None:
    assistant = Stepwise()
    house = await open_house(assistant=assistant)
    async with house.connected(batch="100") as peer:
        asked = await peer.say("go on")
        assistant.say("one ", "two ")
        await assistant.said_all()
        await house.gateway.drop_all()
    assistant.say("three", None)
    await assistant.said_all()
    async with house.connected(session_id=peer.session_id) as again:
        await again.answer(asked)
        said = [one["payload"]["chunk"] for one in again.received if one["type"] == "chat_stream"]
    heard_before = [inner["payload"]["chunk"] for one in peer.received[1:] for inner in opened(one)]
    assert [*heard_before, *said] == ["one ", "two ", "three", ""]


class Written:
    """What a bundle writes."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []

    def __call__(self, text: bytes, wrapped: bool) -> None:
        assert wrapped == bool(unwrap(text))
        self.texts.append(text)


def message(number: int, size: int = 1) -> bytes:
    content = json.dumps({"content": "x" * size, "n": number})
    return f'{{"id":"m{number}","type":"chat_receive","payload":{content}}}'.encode()


@pytest.mark.parametrize(("count", "batches"), [(1, 0), (2, 1), (10, 1), (11, 1), (25, 3)])
async def test_ten_messages_or_a_tenth_of_a_second_make_a_batch(count: int, batches: int) -> None:
    written = Written()
    bundle = Bundle(10, 1 << 20, written)
    for number in range(count):
        bundle.add(message(number))
    async with asyncio.timeout(DEADLINE_S):
        while len(unbundled(written.texts)) < count:  # noqa: ASYNC110 (a plain list has no event)
            await asyncio.sleep(DELAY_S / 10)
    assert unbundled(written.texts) == [message(number) for number in range(count)]
    assert sum(bool(unwrap(text)) for text in written.texts) == batches


async def test_no_batch_is_longer_than_a_message_may_be() -> None:
    written = Written()
    bundle = Bundle(100, 10_000, written)
    sent = [message(number, 900) for number in range(40)]
    for one in sent:
        bundle.add(one)
    bundle.flush()
    assert unbundled(written.texts) == sent
    assert max(map(len, written.texts)) <= 10_000


async def test_a_bundle_that_ends_gives_back_what_it_did_not_write() -> None:
    written = Written()
    bundle = Bundle(10, 0, written)
    bundle.add(message(1))
    bundle.add(message(2))
    assert bundle.finish() == [message(1), message(2)]
    assert bundle.finish() == []
    assert written.texts == []
