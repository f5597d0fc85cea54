"""Pages of another origin log in: which may read the answer."""

from __future__ import annotations

import pytest

from megabot_cli.gateway.cross_origin import is_allowed
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import House

LOGIN = {"username": "ada", "password": "lovelace"}
PAGE = "http://localhost:5173"


async def test_a_page_of_this_machine_may_log_in(house: House) -> None:
    url = f"{house.gateway.http_url}/api/auth/login"
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    async with house.http.options(url, headers=asked) as preflight:
        assert preflight.status == 204
        assert preflight.headers["Access-Control-Allow-Origin"] == PAGE
        assert preflight.headers["Access-Control-Allow-Methods"] == "POST"
        assert "Content-Type" in preflight.headers["Access-Control-Allow-Headers"]
        assert "Access-Control-Allow-Credentials" not in preflight.headers
    async with house.http.post(url, json=LOGIN, headers={"Origin": PAGE}) as response:
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == PAGE
        assert response.headers["Vary"] == "Origin"


async def test_a_refusal_can_be_read_too(house: House) -> None:
    url = f"{house.gateway.http_url}/api/auth/login"
    wrong = LOGIN | {"password": "wrong"}
    async with house.http.post(url, json=wrong, headers={"Origin": PAGE}) as response:
        assert response.status == 401
        assert response.headers["Access-Control-Allow-Origin"] == PAGE


async def test_other_pages_may_not_read_unless_they_are_listed(open_house: OpenHouse) -> None:
    house = await open_house(gateway={"allowed_origins": ["https://app.example"]})
    url = f"{house.gateway.http_url}/api/auth/login"
    for origin, may in (("https://app.example", True), ("https://evil.example", False)):
        async with house.http.post(url, json=LOGIN, headers={"Origin": origin}) as response:
            assert ("Access-Control-Allow-Origin" in response.headers) is may


async def test_a_program_that_is_no_page_hears_nothing_of_origins(house: House) -> None:
    async with house.http.post(f"{house.gateway.http_url}/api/auth/login", json=LOGIN) as response:
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize(
    "origin",
    ["null", "", "file://", "http://localhost.evil.example", "http://[", "ftp://localhost", "*"],
)
def test_what_is_no_page_of_this_machine_is_not_taken_for_one(origin: str) -> None:
    assert not is_allowed(origin, ())
