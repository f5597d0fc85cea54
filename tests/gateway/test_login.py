"""POST /api/auth/login and /api/auth/refresh."""

from __future__ import annotations

import asyncio
import time

import jwt
import pytest

from megabot_cli.gateway.accounts import Users
from megabot_cli.gateway.routes import PAGES
from megabot_cli.gateway.throttle import LoginThrottle
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import House

LOGIN = "/api/auth/login"
REFRESH = "/api/auth/refresh"


async def test_the_right_password_gives_a_token(house: House) -> None:
    status, body = await house.post(LOGIN, {"username": "ada", "password": "lovelace"})
    assert status == 200
    assert set(body) == {"token", "expires_in", "refresh_token", "user_id"}
    assert body["expires_in"] == 3600


async def test_a_token_names_its_bearer_and_its_end(house: House) -> None:
    tokens = await house.login()
    claims = jwt.decode(tokens["token"], options={"verify_signature": False})
    assert claims["sub"] == "ada"
    assert claims["user_id"] == tokens["user_id"]
    assert claims["exp"] == pytest.approx(time.time() + 3600, abs=5)
    assert jwt.get_unverified_header(tokens["token"])["alg"] == "HS256"


@pytest.mark.parametrize(
    "body",
    [
        {"username": "ada", "password": "byron"},
        {"username": "nobody", "password": "lovelace"},
        {"username": "", "password": ""},
    ],
)
async def test_a_wrong_name_or_password_is_401_and_tells_nothing_more(
    house: House, body: dict[str, str]
) -> None:
    status, answer = await house.post(LOGIN, body)
    assert (status, answer["code"], answer["error"]) == (401, 401, "authentication_failed")
    assert answer["message"] == "Invalid username or password"


@pytest.mark.parametrize("path", [LOGIN, REFRESH])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"username":1}', b"\xff\xfe", b"[" * 20_000]
)
async def test_a_body_that_is_not_what_is_expected_is_400(
    house: House, path: str, body: bytes
) -> None:
    async with house.http.post(house.gateway.http_url + path, data=body) as response:
        answer = await response.json()
    assert (response.status, answer["code"], answer["error"]) == (400, 400, "bad_request")


async def test_a_body_that_is_too_long_is_413(house: House) -> None:
    status, answer = await house.post(LOGIN, {"username": "ada", "password": "x" * 100_000})
    assert (status, answer["code"], answer["error"]) == (413, 413, "too_large")


async def test_another_method_or_path_is_refused_as_json(house: House) -> None:
    async with house.http.get(house.gateway.http_url + LOGIN) as response:
        assert response.status == 405
        assert response.headers["Allow"] == "OPTIONS,POST"
        assert (await response.json())["error"] == "method_not_allowed"
    async with house.http.get(house.gateway.http_url + "/nothing") as response:
        answer = await response.json()
        assert (answer["code"], answer["error"]) == (404, "not_found")
        assert answer["message"] == "there is nothing at '/nothing'; GET / lists what there is"
    async with house.http.get(house.gateway.http_url + "/health") as response:
        assert "; did you mean '/healthz'?" in (await response.json())["message"]
        assert (await response.text()).endswith("}\n")


async def test_an_address_says_what_there_is_and_what_is_there_is_all(house: House) -> None:
    base = house.gateway.http_url
    async with house.http.get(f"{base}/") as response:
        text = await response.text()
        assert (response.status, response.content_type) == (200, "text/plain")
    listed = {tuple(line.split()[:2]) for line in text.splitlines() if " /" in line}
    assert listed == {(method, path) for method, path, _ in PAGES}
    for method, path, _ in PAGES:
        async with house.http.request(method, base + path) as response:
            assert response.status not in (404, 405), path
    routed = {
        route.resource.canonical
        for route in house.gateway._application().router.routes()
        if route.resource is not None
    }
    assert routed == {"/", *(path for _, path, _ in PAGES)}


async def test_health_needs_no_credential(house: House) -> None:
    async with house.http.get(house.gateway.http_url + "/healthz") as response:
        assert response.status == 200
        assert (await response.json())["status"] == "ok"


async def test_a_refresh_token_gives_new_tokens_once(house: House) -> None:
    tokens = await house.login()
    status, renewed = await house.post(REFRESH, {"refresh_token": tokens["refresh_token"]})
    assert status == 200
    assert renewed["token"] != tokens["token"]
    assert renewed["refresh_token"] != tokens["refresh_token"]
    status, answer = await house.post(REFRESH, {"refresh_token": tokens["refresh_token"]})
    assert (status, answer["message"]) == (401, "This refresh token was used already")
    status, _ = await house.post(REFRESH, {"refresh_token": renewed["refresh_token"]})
    assert status == 200


async def test_two_refreshes_at_once_with_one_token_give_one_of_them_tokens(house: House) -> None:
    tokens = await house.login()
    body = {"refresh_token": tokens["refresh_token"]}
    answers = await asyncio.gather(*(house.post(REFRESH, body) for _ in range(5)))
    assert sorted(status for status, _ in answers) == [200, 401, 401, 401, 401]


async def test_an_access_token_does_not_refresh(house: House) -> None:
    tokens = await house.login()
    status, answer = await house.post(REFRESH, {"refresh_token": tokens["token"]})
    assert (status, answer["message"]) == (401, "This token is no refresh token")


async def test_too_many_wrong_passwords_are_429_with_a_time_to_wait(open_house: OpenHouse) -> None:
    house = await open_house(throttle=LoginThrottle(time.monotonic(), per_name_burst=3))
    wrong = {"username": "ada", "password": "byron"}
    statuses = [(await house.post(LOGIN, wrong))[0] for _ in range(4)]
    assert statuses == [401, 401, 401, 429]
    async with house.http.post(house.gateway.http_url + LOGIN, json=wrong) as response:
        assert response.status == 429
        assert 1 <= int(response.headers["Retry-After"]) <= 5
        assert (await response.json())["error"] == "rate_limited"


async def test_logins_with_the_right_password_do_not_add_up(open_house: OpenHouse) -> None:
    house = await open_house(throttle=LoginThrottle(time.monotonic(), per_name_burst=3))
    for _ in range(10):
        await house.login()


async def test_a_slow_hash_does_not_hold_up_others(open_house: OpenHouse) -> None:
    house = await open_house(users=Users.in_memory(cost=2**14))
    async with house.connected() as peer:
        body = {"username": "x", "password": "y"}
        logging_in = asyncio.gather(*(house.post(LOGIN, body) for _ in range(5)))
        rounds = 0
        while not logging_in.done():
            await peer.answer(await peer.say("still there?"))
            rounds += 1
        assert {status for status, _ in await logging_in} == {401}
    assert rounds >= 3
