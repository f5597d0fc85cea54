from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.client.endpoint import parse_endpoint
from megabot_cli.errors import BadConfiguration


@pytest.mark.parametrize(
    ("url", "socket_url", "origin"),
    [
        ("ws://127.0.0.1:3000/ws", "ws://127.0.0.1:3000/ws", "http://127.0.0.1:3000"),
        ("ws://127.0.0.1:3000", "ws://127.0.0.1:3000/ws", "http://127.0.0.1:3000"),
        ("http://127.0.0.1:3000/", "ws://127.0.0.1:3000/ws", "http://127.0.0.1:3000"),
        ("wss://api.megabot.ai/ws", "wss://api.megabot.ai/ws", "https://api.megabot.ai"),
        ("https://api.megabot.ai", "wss://api.megabot.ai/ws", "https://api.megabot.ai"),
        ("WSS://API.MegaBot.AI:443/ws", "wss://api.megabot.ai/ws", "https://api.megabot.ai"),
        ("ws://host:80/chat/ws", "ws://host/chat/ws", "http://host"),
        ("ws://host/ws?platform=web", "ws://host/ws?platform=web", "http://host"),
        ("ws://[::1]:3000/ws", "ws://[::1]:3000/ws", "http://[::1]:3000"),
        ("  ws://host/ws\n", "ws://host/ws", "http://host"),
        ("wss://bücher.example", "wss://xn--bcher-kva.example/ws", "https://xn--bcher-kva.example"),
    ],
)
def test_one_url_says_where_everything_is(url: str, socket_url: str, origin: str) -> None:
    endpoint = parse_endpoint(url)
    assert endpoint.socket_url == socket_url
    assert endpoint.origin == origin
    assert endpoint.login_url == f"{origin}/api/auth/login"
    assert endpoint.refresh_url == f"{origin}/api/auth/refresh"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("ws://127.0.0.1:3000/ws?a=b", "ws://127.0.0.1:3000"),
        ("WSS://API.MegaBot.AI:443/ws", "wss://api.megabot.ai"),
        ("http://127.0.0.1:3000/", "http://127.0.0.1:3000"),
        ("https://api.megabot.ai", "https://api.megabot.ai"),
        ("unix:/run/relay?profile=one", "unix:/run/relay"),
    ],
)
def test_people_are_told_the_address_in_the_scheme_that_they_gave(url: str, address: str) -> None:
    assert parse_endpoint(url).address == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:3000",
        "127.0.0.1",
        "ftp://host/ws",
        "ws://",
        "ws://:3000/ws",
        "ws://host:port/ws",
        "ws://host:70000/ws",
        "ws://host:0/ws",
        "ws://[::1/ws",
        "ws://[nonsense]/ws",
        "ws://ho st/ws",
        "ws://ho\nst/ws",
        "ws://host/ws#part",
        "ws://-/ws",
        "ws://a%20b/ws",
    ],
)
def test_a_url_that_is_none_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(BadConfiguration) as refusal:
        parse_endpoint(url)
    assert "ws://127.0.0.1:3000/ws" in str(refusal.value.hint)


@pytest.mark.parametrize(
    "url",
    [
        "ws://user:hunter2@host/ws",
        "ws://hunter2@host/ws",
        "ws://host/ws?token=hunter2",
        "ws://host/ws?a=b&token=hunter2",
        "ws://user:hunter2@host:port/ws",
        "localhost://user:hunter2@host",
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(BadConfiguration) as refusal:
        parse_endpoint(url)
    assert "hunter2" not in f"{refusal.value} {refusal.value.hint}"
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None


@given(st.text())
def test_any_text_is_an_endpoint_or_refused(text: str) -> None:
    for url in (text, f"ws://{text}", f"ws://host/{text}"):
        with contextlib.suppress(BadConfiguration):
            assert parse_endpoint(url).origin.startswith("http")
