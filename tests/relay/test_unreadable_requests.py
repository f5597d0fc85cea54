"""What no HTTP parser takes is answered in one form: JSON, on one line, and without its bytes."""

from __future__ import annotations

import asyncio
import io
import json

import pytest
from yarl import URL

from megabot_cli.gateway.server import Gateway
from tests.relay.conftest import Stage
from tests.relay.test_control import ALLOWED
from tests.relay.test_dedicated import UPGRADE

UNREADABLE = [
    pytest.param(b"a-secret\r\n\r\n", id="no request line"),
    pytest.param(b"GET /\x01?token=a-secret HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", id="path"),
    pytest.param(b"GET / HTTP/3.0\r\nHost: 127.0.0.1\r\n\r\n", id="version"),
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="no Host"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", id="two Hosts"),
    pytest.param(
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer a-secret\x00\r\n\r\n", id="NUL"
    ),
    pytest.param(b"GET /?token=a-secret" + b"x" * 5000 + b" HTTP/1.1\r\n", id="a long line"),
    pytest.param(b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 200 + b"\r\n", id="many headers"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
]


async def answer_to(url: str, request: bytes) -> tuple[bytes, bytes]:
    """Head and body of what is said before the other side hangs up."""
    address = URL(url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(request)
    async with asyncio.timeout(5):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head, body


@pytest.mark.parametrize("request_bytes", UNREADABLE)
async def test_a_request_that_cannot_be_read_is_refused_as_all_others_are(
    stage: Stage, gateway: Gateway, request_bytes: bytes
) -> None:
    relay = await stage.open_relay(gateway.url)
    for url in (relay.url, relay.admin_url):
        head, body = await answer_to(url, request_bytes)
        assert b" 400 " in head
        assert b"application/json" in head
        said = json.loads(body)
        assert (said["error"], said["code"]) == ("malformed", 400)
        assert said["message"].startswith("the request is malformed: ")
        assert (body.count(b"\n"), body[-1:]) == (1, b"\n")
        assert b"a-secret" not in body


async def test_a_gateway_says_it_so_too(gateway: Gateway) -> None:
    head, body = await answer_to(gateway.url, b"no request\r\n\r\n")
    assert b" 400 " in head
    assert json.loads(body)["error"] == "malformed"


async def test_so_is_a_body_that_is_too_long(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url)
    url = f"{relay.admin_url}/relay/mark"
    async with stage.http.post(
        url, data=io.BytesIO(b"x" * (2**20 + 1)), headers=ALLOWED
    ) as response:
        assert response.status == 413
        assert (await response.json())["error"] == "too_large"


async def test_only_a_get_opens_a_socket(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url)
    async with stage.http.head(relay.url.replace("ws:", "http:"), headers=UPGRADE) as response:
        assert response.status == 400
