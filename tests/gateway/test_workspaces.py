"""session_join and collaborative_action: people who work on one thing."""

from __future__ import annotations

import pytest

from megabot_cli.gateway.accounts import Users
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import House, Peer

ROOM = {"session_id": "room"}


async def join(peer: Peer, room: str = "room") -> dict[str, object]:
    joined = await peer.send("session_join", {"session_id": room})
    payload: dict[str, object] = (await peer.until("notification", joined))["payload"]
    return payload


async def test_an_action_goes_to_every_other_participant_with_the_user_filled_in(
    house: House,
) -> None:
    async with house.connected() as ada, house.connected() as bob, house.connected() as outsider:
        await join(ada)
        await join(bob)
        move = {**ROOM, "action": "cursor_move", "data": {"position": 7}, "user_id": "forged"}
        sent = await ada.send("collaborative_action", move)
        seen = await bob.until("collaborative_action")
        assert seen["id"] == sent
        assert seen["payload"] == {**move, "user_id": ada.user_id}
        for peer in (ada, outsider):
            await peer.answer(await peer.say("anything?"))
            assert "cursor_move" not in str(peer.received)


async def test_unknown_actions_and_keys_pass_and_numbers_keep_their_digits(house: House) -> None:
    async with house.connected() as ada, house.connected() as bob:
        await join(ada)
        await join(bob)
        action = {**ROOM, "action": "dance", "steps": 12345678901234567890123, "tempo": None}
        await ada.send_text(
            '{"id":"d","type":"collaborative_action","payload":{"session_id":"room",'
            '"action":"dance","steps":12345678901234567890123,"tempo":null}}'
        )
        seen = await bob.until("collaborative_action")
        assert seen["payload"] == {**action, "user_id": ada.user_id}


async def test_an_action_with_a_number_nobody_can_read_is_400_and_the_connection_stays(
    house: House,
) -> None:
    async with house.connected() as ada:
        await join(ada)
        await ada.send_text(
            '{"id":"d","type":"collaborative_action","payload":{"session_id":"room",'
            '"action":"dance","steps":1e999}}'
        )
        refusal = await ada.until("connection_error", "d")
        assert refusal["payload"]["code"] == 400
        sent = await ada.send("chat_send", {"content": "still here"})
        assert await ada.until("chat_receive", sent)


async def test_joining_is_answered_and_told_to_those_who_are_there(open_house: OpenHouse) -> None:
    users = Users.in_memory(cost=2)
    users.add("ada", "x")
    users.add("bob", "x")
    house = await open_house(users=users)
    async with (
        house.connected() as ada,
        house.connected(key=users.add_api_key("bob")) as bob,
    ):
        assert (await join(ada))["participants"] == [ada.user_id]
        assert (await join(bob))["participants"] == [ada.user_id, bob.user_id]
        news = await ada.until("notification")
        assert news["payload"]["title"] == "bob joined"
        await bob.socket.close()
        assert (await ada.until("notification"))["payload"]["title"] == "bob left"


async def test_who_has_not_joined_may_not_act(house: House) -> None:
    async with house.connected() as ada:
        sent = await ada.send("collaborative_action", {**ROOM, "action": "cursor_move"})
        refusal = await ada.until("connection_error", sent)
        assert (refusal["payload"]["error"], refusal["payload"]["code"]) == ("not_joined", 403)


async def test_an_action_that_others_could_not_receive_is_413(house: House) -> None:
    async with house.connected() as ada:
        await join(ada)
        action = {**ROOM, "action": "text_edit", "data": "x" * (1024 * 1024 - 150)}
        refusal = await ada.until(
            "connection_error", await ada.send("collaborative_action", action)
        )
        assert refusal["payload"]["code"] == 413
        assert refusal["payload"]["message"].startswith("With the user filled in")


async def test_joining_twice_is_being_there_once(house: House) -> None:
    async with house.connected() as ada, house.connected() as bob:
        await join(ada)
        await join(bob)
        await join(bob)
        await ada.send("collaborative_action", {**ROOM, "action": "wave"})
        await ada.send("collaborative_action", {**ROOM, "action": "bow"})
        await bob.until("collaborative_action")
        assert (await bob.next())["payload"]["action"] == "bow"


async def test_a_workspace_is_no_way_into_a_session_of_that_name(house: House) -> None:
    async with house.connected() as ada, house.connected() as eve:
        await join(eve, ada.session_id)
        await ada.answer(await ada.say("a secret"))
        await eve.answer(await eve.say("anything?"))
        assert "a secret" not in str(eve.received)


@pytest.mark.parametrize(
    ("rooms", "refused"), [(["r" * 257], 400), ([f"{n}" for n in range(101)], 429)]
)
async def test_names_and_number_of_workspaces_are_bounded(
    house: House, rooms: list[str], refused: int
) -> None:
    async with house.connected() as ada:
        for room in rooms:
            await ada.send("session_join", {"session_id": room})
        assert (await ada.until("connection_error"))["payload"]["code"] == refused
