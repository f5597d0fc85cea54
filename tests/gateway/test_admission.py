"""Who gets a socket, by which credential, and what a refusal looks like."""

from __future__ import annotations

import time

import aiohttp
import jwt
import pytest

from megabot_cli.gateway.accounts import User
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import House, Peer


async def greeting(house: House, *, headers: dict[str, str], **query: str) -> Peer:
    async with house.http.ws_connect(house.gateway.url, params=query, headers=headers) as socket:
        peer = Peer(socket)
        await peer.next()
        if peer.received[0]["type"] != "connection_established":
            await peer.closed()
        return peer


async def test_a_jwt_is_taken_from_the_authorization_header(house: House) -> None:
    token = (await house.login())["token"]
    peer = await greeting(house, headers={"Authorization": f"Bearer {token}"})
    assert peer.received[0]["type"] == "connection_established"


async def test_a_jwt_is_taken_from_the_query(house: House) -> None:
    peer = await greeting(house, headers={}, token=(await house.login())["token"])
    assert peer.received[0]["type"] == "connection_established"


@pytest.mark.parametrize("name", ["Authorization", "X-API-Key", "both"])
async def test_an_api_key_is_taken_from_either_header(house: House, name: str) -> None:
    headers = {"Authorization": f"Bearer {house.key}", "X-API-Key": house.key}
    if name != "both":
        headers = {name: headers[name]}
    peer = await greeting(house, headers=headers)
    assert peer.received[0]["type"] == "connection_established"


async def test_an_api_key_is_taken_from_the_query(house: House) -> None:
    peer = await greeting(house, headers={}, token=house.key)
    assert peer.received[0]["type"] == "connection_established"


@pytest.mark.parametrize("authorization", ["Basic YWRhOmxvdmVsYWNl", "Bearer", "Bearer {key}", ""])
@pytest.mark.parametrize("place", ["query", "X-API-Key"])
async def test_a_credential_beside_an_authorization_that_holds_no_other_is_taken(
    house: House, authorization: str, place: str
) -> None:
    headers = {"Authorization": authorization.format(key=house.key)}
    query = {"token": house.key} if place == "query" else {}
    peer = await greeting(house, headers=headers | ({} if query else {place: house.key}), **query)
    assert peer.received[0]["type"] == "connection_established"


@pytest.mark.parametrize("good", ["header", "query"])
async def test_of_two_different_tokens_in_header_and_query_none_is_taken(
    house: House, good: str
) -> None:
    given = {"header": "nonsense", "query": "nonsense", good: house.key}
    headers = {"Authorization": f"Bearer {given['header']}"}
    peer = await greeting(house, headers=headers, token=given["query"])
    assert peer.received[0]["payload"]["code"] == 401
    assert "different tokens" in peer.received[0]["payload"]["message"]
    assert peer.socket.close_code == 1008


async def test_the_greeting_names_session_user_and_capabilities(house: House) -> None:
    user_id = (await house.login())["user_id"]
    peer = await greeting(house, headers={"X-API-Key": house.key}, user_id="somebody", platform="x")
    message = peer.received[0]
    assert message["payload"]["session_id"].startswith("sess_")
    assert message["payload"]["user_id"] == user_id  # the credential's, not the one claimed
    assert {"chat", "realtime", "streaming"} <= set(message["payload"]["capabilities"])
    assert message["timestamp"] == pytest.approx(time.time(), abs=5)


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({}, {}),
        ({}, {"token": "nonsense"}),
        ({}, {"token": "a.b.c"}),
        ({}, {"token": "mbk_nonsense"}),
        ({"Authorization": "Bearer"}, {}),
        ({"Authorization": "Basic YWRhOmxvdmVsYWNl"}, {}),
        ({"Authorization": "Bearer \u00e9\u00e9"}, {}),
        ({"X-API-Key": "nonsense"}, {}),
    ],
)
async def test_a_refused_credential_is_told_and_the_connection_closed_with_1008(
    house: House, headers: dict[str, str], query: dict[str, str]
) -> None:
    peer = await greeting(house, headers=headers, **query)
    assert peer.received[0]["type"] == "connection_error"
    assert peer.received[0]["payload"]["error"] == "authentication_failed"
    assert peer.received[0]["payload"]["code"] == 401
    assert peer.socket.close_code == 1008
    assert house.gateway.session_count == 0


async def test_an_expired_token_is_refused_as_expired(
    open_house: OpenHouse,
) -> None:
    house = await open_house()
    tokens = await house.login()
    ada = User("ada", tokens["user_id"])
    old = house.gateway._keys.issue(ada, "access", lifetime_s=10, now=time.time() - 11)
    peer = await greeting(house, headers={}, token=old)
    assert peer.received[0]["payload"]["message"] == "The token has expired"


async def test_a_refresh_token_opens_no_socket(house: House) -> None:
    peer = await greeting(house, headers={}, token=(await house.login())["refresh_token"])
    assert peer.received[0]["payload"]["code"] == 401


async def test_a_token_of_another_gateway_is_refused(open_house: OpenHouse) -> None:
    one, other = await open_house(), await open_house()
    peer = await greeting(one, headers={}, token=(await other.login())["token"])
    assert peer.received[0]["payload"]["message"] == "Invalid token provided"


async def test_an_unsigned_token_is_refused(house: House) -> None:
    tokens = await house.login()
    claims = jwt.decode(tokens["token"], options={"verify_signature": False})
    forged = jwt.encode(claims, key="", algorithm="none")
    peer = await greeting(house, headers={}, token=forged)
    assert peer.received[0]["payload"]["code"] == 401


async def test_no_refusal_repeats_the_credential(house: House) -> None:
    peer = await greeting(house, headers={}, token="mbk_my-secret")
    assert "my-secret" not in str(peer.received)


async def test_a_plain_request_for_the_socket_is_426(house: House) -> None:
    url = house.gateway.http_url + "/ws"
    async with house.http.get(url, headers={"X-API-Key": house.key}) as response:
        assert response.status == 426
        assert response.headers["Upgrade"] == "websocket"
        assert (await response.json())["error"] == "upgrade_required"


async def test_an_unknown_websocket_version_is_refused_before_the_upgrade(house: House) -> None:
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "99",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "X-API-Key": house.key,
    }
    async with house.http.get(house.gateway.http_url + "/ws", headers=headers) as response:
        assert response.status == 426
        assert response.headers["Sec-WebSocket-Version"] == "13"


async def test_permessage_deflate_is_accepted(house: House) -> None:
    async with house.connected(compress=15) as peer:
        assert peer.socket.compress
        long = "words " * 1600
        await peer.answer(await peer.say(long))
        execution = {
            "execution_id": "e",
            "tool_name": "echo",
            "parameters": {"text": "y" * 500_000},
        }
        result = await peer.until("tool_result", await peer.send("tool_call", execution))
        assert result["payload"]["result"]["text"] == "y" * 500_000


async def test_a_client_that_went_away_during_the_refusal_harms_nobody(house: House) -> None:
    for _ in range(5):
        socket = await house.http.ws_connect(house.gateway.url)
        transport = socket._response.connection
        assert transport is not None
        assert transport.transport is not None
        transport.transport.abort()
    async with house.connected() as peer:
        await peer.answer(await peer.say("all well?"))


async def test_the_specifications_python_client_gets_in(house: House) -> None:
    token = (await house.login())["token"]
    async with aiohttp.ClientSession() as http:
        headers = {"Authorization": f"Bearer {token}"}
        async with http.ws_connect(house.gateway.url, headers=headers) as socket:
            assert "connection_established" in (await socket.receive()).data
