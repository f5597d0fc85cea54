"""The way in: the login's token, the parameters of the URL, and how long a token lasts."""

from __future__ import annotations

import asyncio

import pytest

from megabot_cli.client.connection import ClientEvent, MegaBotClient
from megabot_cli.gateway.accounts import Users
from megabot_cli.protocol.backoff import Linear
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import DEADLINE_S, House, Message, Peer
from tests.gateway.test_sessions import Stepwise, chunk_texts

SHORT_S = 0.5


async def by_query(house: House, **query: str) -> tuple[Peer, Message]:
    """A socket as a browser opens it: what is wanted stands in the URL, no header is set."""
    socket = await house.http.ws_connect(house.gateway.url, params=query)
    peer = Peer(socket)
    return peer, await peer.next()


async def test_the_token_of_a_login_opens_the_socket(house: House) -> None:
    credentials = {"username": "ada", "password": "lovelace"}
    status, tokens = await house.post("/api/auth/login", credentials)
    assert status == 200
    peer, greeting = await by_query(house, token=tokens["token"])
    assert greeting["type"] == "connection_established"
    assert greeting["payload"]["user_id"] == tokens["user_id"]
    await peer.answer(await peer.say("Hello MegaBot!"))


async def test_a_basic_connection_hears_that_a_credential_is_needed(house: House) -> None:
    peer, refusal = await by_query(house)
    assert refusal["type"] == "connection_error"
    assert refusal["payload"] == {
        "error": "authentication_failed",
        "message": "No token or API key provided",
        "code": 401,
    }
    assert await peer.closed() == 1008


async def test_the_user_is_the_credentials_whoever_user_id_claims_to_be(house: House) -> None:
    tokens = await house.login()
    for claimed in ("user123", tokens["user_id"], ""):
        query = {"token": tokens["token"], "user_id": claimed, "platform": "web"}
        peer, greeting = await by_query(house, **query)
        assert greeting["payload"]["user_id"] == tokens["user_id"]
        await peer.answer(await peer.say("hello"))


async def test_a_session_is_not_given_to_who_only_claims_to_be_its_user(
    open_house: OpenHouse,
) -> None:
    users = Users.in_memory(cost=2)
    users.add("ada", "x")
    users.add("eve", "x")
    house = await open_house(users=users)
    async with (
        house.connected() as ada,
        house.connected(
            key=users.add_api_key("eve"), user_id=ada.user_id, session_id=ada.session_id
        ) as eve,
    ):
        assert eve.user_id != ada.user_id
        assert eve.session_id != ada.session_id


@pytest.mark.parametrize("platform", ["web", "mobile", "desktop", "cli"])
async def test_a_platform_is_shown_to_those_in_the_same_workspace(
    house: House, platform: str
) -> None:
    async with house.connected() as ada, house.connected(platform=platform) as bob:
        room = {"session_id": "room"}
        await ada.until("notification", await ada.send("session_join", room))
        await bob.until("notification", await bob.send("session_join", room))
        assert (await ada.until("notification"))["payload"]["platform"] == platform
        await bob.send("collaborative_action", {**room, "action": "wave"})
        seen = await ada.until("collaborative_action")
        assert seen["metadata"]["platform"] == platform


@pytest.mark.parametrize(
    ("parameter", "value", "error"),
    [
        ("platform", "x" * 33, "unsupported_platform"),
        ("platform", "w\u00e9b", "unsupported_platform"),
        ("compression", "br", "unsupported_compression"),
        ("batch", "many", "unsupported_batch"),
        ("batch", "101", "unsupported_batch"),
        ("batch", "-1", "unsupported_batch"),
    ],
)
async def test_a_parameter_of_no_use_is_told_and_the_connection_serves(
    house: House, parameter: str, value: str, error: str
) -> None:
    query = {parameter: value}
    async with house.connected(key=None, compress=0, **query) as peer:
        refusal = await peer.next()
        assert refusal["type"] == "connection_error"
        assert (refusal["payload"]["error"], refusal["payload"]["code"]) == (error, 400)
        await peer.answer(await peer.say("still served?"))


async def test_unknown_parameters_are_passed_over(house: House) -> None:
    async with house.connected(tracking="abc", x="") as peer:
        assert await peer.answer(await peer.say("hi"))


async def test_all_parameters_go_together(house: House) -> None:
    tokens = await house.login()
    peer, greeting = await by_query(house, token=tokens["token"])
    session_id = greeting["payload"]["session_id"]
    await peer.socket.close()
    peer, greeting = await by_query(
        house,
        token=tokens["token"],
        user_id=tokens["user_id"],
        platform="mobile",
        session_id=session_id,
        compression="gzip",
    )
    assert greeting["payload"]["session_id"] == session_id
    await peer.answer(await peer.say("hello again"))


async def test_the_specifications_api_key_headers_let_in(house: House) -> None:
    headers = {"Authorization": f"Bearer {house.key}", "X-API-Key": house.key}
    async with house.http.ws_connect(house.gateway.url, headers=headers) as socket:
        assert (await Peer(socket).next())["type"] == "connection_established"


async def test_a_connection_ends_when_its_token_does(open_house: OpenHouse) -> None:
    house = await open_house(gateway={"token_lifetime_s": SHORT_S})
    async with house.connected() as with_key:
        peer, greeting = await by_query(house, token=(await house.login())["token"])
        assert greeting["type"] == "connection_established"
        refusal = await peer.until("connection_error")
        assert refusal["payload"] == {
            "error": "authentication_failed",
            "message": "The token has expired",
            "code": 401,
        }
        assert await peer.closed() == 1008
        # A key has no end, and its connection goes on.
        await with_key.answer(await with_key.say("still there?"))


async def test_what_a_token_s_end_cut_short_goes_on_with_the_next_token(
    open_house: OpenHouse,
) -> None:
    assistant = Stepwise()
    house = await open_house(gateway={"token_lifetime_s": SHORT_S}, assistant=assistant)
    peer, greeting = await by_query(house, token=(await house.login())["token"])
    asked = await peer.say("go on")
    assistant.say("one ")
    await peer.until("chat_stream", asked)
    await peer.closed()
    assistant.say("two", None)
    await assistant.said_all()
    session_id = greeting["payload"]["session_id"]
    again, _ = await by_query(house, token=(await house.login())["token"], session_id=session_id)
    rest = await again.answer(asked)
    assert chunk_texts(rest) == ["two", ""]
    assert rest[-1]["payload"]["content"] == "one two"


async def test_our_client_comes_back_with_a_new_token_in_the_same_session(
    open_house: OpenHouse,
) -> None:
    house = await open_house(gateway={"token_lifetime_s": 1.5})
    resumed = asyncio.Event()

    def hear(event: ClientEvent) -> None:
        if event.kind == "resumed":
            resumed.set()

    async with MegaBotClient(
        house.gateway.url,
        username="ada",
        password="lovelace",
        reconnect=Linear(0.01, 5),
        on_event=hear,
    ) as client:
        session_id = client.session_id
        async with asyncio.timeout(DEADLINE_S):
            await resumed.wait()
        assert client.session_id == session_id
        assert (await client.ask("still you?", timeout_s=DEADLINE_S)).text
