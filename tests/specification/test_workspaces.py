"""Shared workspaces, as the specification's CollaborativeSession uses them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from megabot_cli.gateway.accounts import Users
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import House, Message, Peer
from tests.protocol.specification_texts import SENT_BY_SNIPPETS

ROOM = "sess_456"  # the specification's
ACTIONS = [name for name in SENT_BY_SNIPPETS if "session_" in name and "join" not in name]


async def join(peer: Peer) -> Message:
    joined = await peer.send("session_join", {"session_id": ROOM})
    return await peer.until("notification", joined)


@asynccontextmanager
async def together(open_house: OpenHouse, *names: str) -> AsyncIterator[list[Peer]]:
    """People of different users, all of them in the room, each told of those after it."""
    users = Users.in_memory(cost=2)
    for name in names:
        users.add(name, "x")
    if "ada" not in names:
        users.add("ada", "x")
    house = await open_house(users=users)
    async with AsyncExitStack() as open_now:
        peers: list[Peer] = []
        for name in names:
            key = users.add_api_key(name)
            peer = await open_now.enter_async_context(house.connected(key=key))
            await join(peer)
            for earlier in peers:
                await earlier.until("notification")
            peers.append(peer)
        yield peers


@pytest.mark.parametrize("name", ACTIONS)
async def test_an_action_of_the_specification_reaches_every_other_participant(
    open_house: OpenHouse, name: str
) -> None:
    async with together(open_house, "ada", "bob", "cleo") as (ada, bob, cleo):
        await ada.send_text(SENT_BY_SNIPPETS[name])
        shown = json.loads(SENT_BY_SNIPPETS[name])
        for other in (bob, cleo):
            seen = await other.until("collaborative_action")
            assert seen["payload"] == {**shown["payload"], "user_id": ada.user_id}
            assert seen["metadata"]["user_id"] == ada.user_id
        await ada.answer(await ada.say("did I hear myself?"))
        assert "collaborative_action" not in {one["type"] for one in ada.received}


async def test_actions_of_one_participant_arrive_in_their_order(open_house: OpenHouse) -> None:
    async with together(open_house, "ada", "bob") as (ada, bob):
        for number in range(50):
            action = {"session_id": ROOM, "action": "text_edit", "data": {"at": number}}
            await ada.send("collaborative_action", action)
        seen = [await bob.until("collaborative_action") for _ in range(50)]
    assert [one["payload"]["data"]["at"] for one in seen] == list(range(50))


async def test_the_presence_of_a_newcomer_is_told_with_who_is_there(
    open_house: OpenHouse,
) -> None:
    users = Users.in_memory(cost=2)
    users.add("ada", "x")
    users.add("bob", "x")
    house = await open_house(users=users)
    async with house.connected() as ada, house.connected(key=users.add_api_key("bob")) as bob:
        assert (await join(ada))["payload"]["participants"] == [ada.user_id]
        answer = (await join(bob))["payload"]
        told = await ada.until("notification")
    assert answer["participants"] == told["payload"]["participants"] == [ada.user_id, bob.user_id]
    assert told["metadata"]["session_id"] == ROOM
    assert {key: told["payload"][key] for key in ("type", "title", "message", "event")} == {
        "type": "info",
        "title": "bob joined",
        "message": f"In {ROOM} now: ada, bob.",
        "event": "joined",
    }
    assert told["payload"]["user_id"] == bob.user_id


async def test_who_disconnects_has_left_and_the_others_are_told(open_house: OpenHouse) -> None:
    async with together(open_house, "ada", "bob", "cleo") as (ada, bob, cleo):
        await bob.socket.close()
        for other in (ada, cleo):
            told = (await other.until("notification"))["payload"]
            assert (told["event"], told["user_id"]) == ("left", bob.user_id)
            assert told["participants"] == [ada.user_id, cleo.user_id]


async def test_who_leaves_stays_connected_and_hears_no_more_of_the_workspace(
    open_house: OpenHouse,
) -> None:
    async with together(open_house, "ada", "bob") as (ada, bob):
        left = await bob.send("session_leave", {"session_id": ROOM})
        assert (await bob.until("notification", left))["payload"]["title"] == "Left"
        told = (await ada.until("notification"))["payload"]
        assert (told["title"], told["participants"]) == ("bob left", [ada.user_id])
        await ada.send("collaborative_action", {"session_id": ROOM, "action": "wave"})
        await ada.answer(await ada.say("has it gone out?"))
        await bob.answer(await bob.say("still connected"))
        assert "collaborative_action" not in {one["type"] for one in bob.received}
        acted = await bob.send("collaborative_action", {"session_id": ROOM, "action": "wave"})
        refusal = (await bob.until("connection_error", acted))["payload"]
        assert (refusal["error"], refusal["code"]) == ("not_joined", 403)
        await join(bob)  # and may come back


async def test_the_last_to_leave_leaves_nothing_behind(house: House) -> None:
    async with house.connected() as ada:
        await join(ada)
        left = await ada.send("session_leave", {"session_id": ROOM})
        answer = (await ada.until("notification", left))["payload"]
        assert (answer["participants"], answer["message"]) == ([], f"In {ROOM} now: nobody.")
        assert len(house.gateway._handlers._workspaces) == 0


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({"session_id": ROOM}, "not_joined"),
        ({"session_id": ""}, "invalid_message"),
        ({"session_id": 7}, "invalid_message"),
        ([], "invalid_message"),
        ({}, "invalid_message"),
    ],
)
async def test_leaving_where_one_is_not_is_refused(
    house: House, payload: object, error: str
) -> None:
    async with house.connected() as ada:
        sent = await ada.send("session_leave", payload)
        assert (await ada.until("connection_error", sent))["payload"]["error"] == error
