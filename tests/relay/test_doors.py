"""Where the relay listens, and how long a stranger may stand in the door."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from megabot_cli.client.connection import MegaBotClient
from megabot_cli.config.schema import LimitSettings, RelaySettings
from megabot_cli.errors import BadConfiguration
from megabot_cli.gateway.server import Gateway
from megabot_cli.relay.reloading import Reread
from megabot_cli.relay.server import Relay
from tests.relay.conftest import Peer, Stage, until
from tests.support.certificates import Certificate, make_aged_certificate, make_certificate

Knock = Callable[..., Awaitable["Stranger"]]


def address(relay: Relay) -> tuple[str, int]:
    host, _, port = relay.url.partition("://")[2].removesuffix("/ws").rpartition(":")
    return host, int(port)


class Stranger:
    """A connection that sends what a test says, and tells how it ended."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def is_cut(self, limit_s: float = 5.0) -> bool:
        try:
            async with asyncio.timeout(limit_s):
                return await self.reader.read() == b""
        except ConnectionResetError:
            return True


@pytest.fixture
async def knock() -> AsyncIterator[Knock]:
    """Connect without a word; all are gone after the test."""
    strangers: list[Stranger] = []

    async def knock(relay: Relay, data: bytes = b"") -> Stranger:
        stranger = Stranger(*await asyncio.open_connection(*address(relay)))
        strangers.append(stranger)
        stranger.say(data)
        return stranger

    yield knock
    for stranger in strangers:
        stranger.writer.close()
        with contextlib.suppress(ConnectionError):
            await stranger.writer.wait_closed()


@pytest.mark.parametrize("half", [b"", b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "])
async def test_half_a_request_and_silence_is_cut_at_its_deadline_and_nobody_else_notices(
    stage: Stage, gateway: Gateway, knock: Knock, half: bytes
) -> None:
    relay = await stage.open_relay(gateway.url, header_deadline_s=0.3)
    peer, _ = await stage.greeted(relay.url)
    began = time.monotonic()
    stranger = await knock(relay, half)
    assert await stranger.is_cut()
    assert 0.2 < time.monotonic() - began < 3
    assert relay.numbers.refusals["deadline"] == 1
    await peer.send("chat_send", "m1", content="hello")
    assert await peer.message("chat_receive")


async def test_a_byte_at_a_time_does_not_buy_time(
    stage: Stage, gateway: Gateway, knock: Knock
) -> None:
    relay = await stage.open_relay(gateway.url, header_deadline_s=0.4)
    stranger = await knock(relay)
    cut = asyncio.ensure_future(stranger.is_cut())
    for byte in b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\n" * 10:
        if cut.done():
            break
        stranger.say(bytes((byte,)))
        await asyncio.sleep(0.02)
    assert await cut


async def test_of_a_crowd_that_says_nothing_the_oldest_go(
    stage: Stage, gateway: Gateway, knock: Knock
) -> None:
    relay = await stage.open_relay(gateway.url, max_unknown=8)
    silent = [await knock(relay) for _ in range(20)]
    await asyncio.sleep(1.1)
    await knock(relay)
    await until(lambda: relay.numbers.refusals["crowded"] >= 13)
    assert await silent[0].is_cut()
    peer, _ = await stage.greeted(relay.url)
    await peer.send("chat_send", "m1", content="hello")
    assert await peer.message("chat_receive")


async def test_hundreds_that_come_at_once_are_all_served(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url, max_unknown=8, max_clients_per_session=300)
    peer, session = await stage.greeted(relay.url)
    async with asyncio.TaskGroup() as group:
        coming = [group.create_task(stage.greeted(relay.url, session)) for _ in range(200)]
    assert {task.result()[1] for task in coming} == {session}
    assert not relay.numbers.refusals["crowded"]
    await peer.socket.close()


async def test_those_who_come_and_go_crowd_nobody_out(
    stage: Stage, gateway: Gateway, knock: Knock
) -> None:
    relay = await stage.open_relay(gateway.url, max_unknown=4)
    waiting = await knock(relay, b"GET /nowhere HTTP/1.1\r\n")
    for _ in range(50):
        visitor = await knock(relay)
        visitor.writer.close()
        await visitor.writer.wait_closed()
        await asyncio.sleep(0.02)
    waiting.say(b"Host: 127.0.0.1\r\n\r\n")
    assert b"404" in await waiting.reader.readline()


async def test_a_url_beyond_4_kib_is_refused(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url)
    url = relay.url.replace("ws:", "http:")
    async with stage.http.get(f"{url}?x={'y' * 3000}") as response:
        assert response.status == 426
    async with stage.http.get(f"{url}?x={'y' * 5000}") as response:
        assert response.status == 400


async def test_a_kept_connections_next_request_has_its_time_too(
    stage: Stage, gateway: Gateway, knock: Knock
) -> None:
    relay = await stage.open_relay(gateway.url, header_deadline_s=0.3)
    stranger = await knock(relay, b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert b"426" in await stranger.reader.readline()
    await stranger.is_cut()
    assert relay.numbers.refusals["deadline"] == 1


# -- Unix socket ---------------------------------------------------------------------------


async def test_a_unix_socket_is_its_owners_alone_and_gone_afterwards(
    stage: Stage, gateway: Gateway, tmp_path: Path
) -> None:
    path = tmp_path / "relay.sock"
    relay = await stage.open_relay(gateway.url, listen=f"unix:{path}")
    assert relay.url == f"unix:{path}"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    async with MegaBotClient(relay.url) as client:
        answer = await client.ask("hello", timeout_s=5)
        assert "hello" in answer.text
    await relay.stop()
    assert not path.exists()


async def test_a_socket_that_a_crash_left_behind_is_replaced(
    stage: Stage, gateway: Gateway, tmp_path: Path
) -> None:
    path = tmp_path / "relay.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    relay = await stage.open_relay(gateway.url, listen=f"unix:{path}")
    async with MegaBotClient(relay.url) as client:
        assert client.session_id


async def test_a_socket_that_is_in_use_is_not(
    stage: Stage, gateway: Gateway, tmp_path: Path
) -> None:
    listen = f"unix:{tmp_path / 'relay.sock'}"
    relay = await stage.open_relay(gateway.url, listen=listen)
    with pytest.raises(BadConfiguration, match="cannot listen"):
        await stage.open_relay(gateway.url, listen=listen)
    async with MegaBotClient(relay.url) as client:
        assert client.session_id


async def test_behind_a_unix_socket_nobody_speaks_tls(
    stage: Stage, gateway: Gateway, certificate: Certificate, tmp_path: Path
) -> None:
    """It is on this machine and its owner's alone; a certificate is for who comes over TCP."""
    relay = await stage.open_relay(
        gateway.url,
        listen=f"unix:{tmp_path / 'relay.sock'}",
        tls_cert_file=str(certificate.cert_file),
        tls_key_file=str(certificate.key_file),
    )
    async with MegaBotClient(relay.url) as client:
        assert (await client.ask("hello", timeout_s=5)).text
    assert relay.doors.certificate is None


@pytest.mark.parametrize("listen", ["unix:relative.sock", "unix:", "unix:/" + "x" * 200])
async def test_a_path_that_no_socket_can_have_is_told(
    stage: Stage, gateway: Gateway, listen: str
) -> None:
    with pytest.raises(BadConfiguration, match="no address"):
        await stage.open_relay(gateway.url, listen=listen)


# -- TLS -------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path, "127.0.0.1")


async def test_clients_are_served_with_tls(
    stage: Stage, gateway: Gateway, certificate: Certificate
) -> None:
    relay = await stage.open_relay(
        gateway.url,
        tls_cert_file=str(certificate.cert_file),
        tls_key_file=str(certificate.key_file),
    )
    assert relay.url.startswith("wss://")
    trusting = ssl.create_default_context(cafile=str(certificate.cert_file))
    async with MegaBotClient(relay.url, ssl=trusting, token="the-client-token") as client:
        assert (await client.ask("hello", timeout_s=5)).text
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await stage.http.ws_connect(relay.url)


async def test_a_renewed_certificate_is_shown_after_a_reload_and_one_of_no_use_is_not(
    stage: Stage, gateway: Gateway, certificate: Certificate, tmp_path: Path
) -> None:
    files = (certificate.cert_file, certificate.key_file)
    settings = RelaySettings(tls_cert_file=str(files[0]), tls_key_file=str(files[1]))
    relay = await stage.open_relay(
        gateway.url,
        read_settings=lambda: Reread(settings, LimitSettings()),
        tls_cert_file=settings.tls_cert_file,
        tls_key_file=settings.tls_key_file,
    )
    (tmp_path / "renewed").mkdir()
    renewed = make_certificate(tmp_path / "renewed", "127.0.0.1")
    files[0].write_bytes(renewed.cert_file.read_bytes())  # its key is still to come
    with pytest.raises(BadConfiguration, match="tls_cert_file"):
        relay.operations.reload()
    files[1].write_bytes(renewed.key_file.read_bytes())
    relay.operations.reload()
    files[0].write_text("of no use")
    with pytest.raises(BadConfiguration, match="tls_cert_file"):
        relay.operations.reload()
    trusting = ssl.create_default_context(cafile=str(renewed.cert_file))
    async with MegaBotClient(relay.url, ssl=trusting, token="the-client-token") as client:
        assert client.session_id


async def test_a_scrape_tells_the_end_of_the_certificate_that_clients_are_shown(
    stage: Stage, gateway: Gateway, tmp_path: Path
) -> None:
    shown = make_aged_certificate(tmp_path, "127.0.0.1", age_days=80, left_days=10)
    files: dict[str, Any] = {
        "tls_cert_file": str(shown.cert_file),
        "tls_key_file": str(shown.key_file),
    }
    settings = RelaySettings(**files)
    relay = await stage.open_relay(
        gateway.url, read_settings=lambda: Reread(settings, LimitSettings()), **files
    )
    in_days = await days_told(stage, relay)
    assert in_days == pytest.approx((-80, 10), abs=0.01)
    renewed = make_certificate(tmp_path, "127.0.0.1")
    shown.cert_file.write_bytes(renewed.cert_file.read_bytes())  # its key is still to come
    with pytest.raises(BadConfiguration):
        relay.operations.reload()
    assert await days_told(stage, relay) == pytest.approx((-80, 10), abs=0.01)
    shown.key_file.write_bytes(renewed.key_file.read_bytes())
    relay.operations.reload()
    assert await days_told(stage, relay) == pytest.approx((0, 2), abs=0.01)
    async with stage.http.get(f"{relay.admin_url}/relay/status") as answer:
        ends_at = (await answer.json())["certificate_ends_at"]
    assert (ends_at - time.time()) / 86400 == pytest.approx(2, abs=0.01)


async def days_told(stage: Stage, relay: Relay) -> tuple[float, ...]:
    """In how many days the certificate starts and ends, by a scrape."""
    async with stage.http.get(f"{relay.admin_url}/metrics") as answer:
        text = await answer.text()
    told = dict(
        line.split()
        for line in text.splitlines()
        if line.startswith("megabot_relay_tls_certificate")
    )
    names = (f"megabot_relay_tls_certificate_{end}_timestamp_seconds" for end in ("start", "end"))
    return tuple((float(told[name]) - time.time()) / 86400 for name in names)


async def test_without_tls_no_scrape_tells_of_a_certificate(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url)
    async with stage.http.get(f"{relay.admin_url}/metrics") as answer:
        assert "tls_certificate" not in await answer.text()


async def test_other_machines_may_come_with_tls_and_a_token_and_not_otherwise(
    stage: Stage, gateway: Gateway, certificate: Certificate
) -> None:
    files: dict[str, Any] = {
        "tls_cert_file": str(certificate.cert_file),
        "tls_key_file": str(certificate.key_file),
    }
    with pytest.raises(BadConfiguration, match="other machines"):
        await stage.open_relay(gateway.url, listen="0.0.0.0:0", **files)
    with pytest.raises(BadConfiguration, match="other machines"):
        await stage.open_relay(gateway.url, listen="0.0.0.0:0", require_token=True)
    relay = await stage.open_relay(
        gateway.url, listen="0.0.0.0:0", require_token=True, allowed_hosts=["127.0.0.1"], **files
    )
    trusting = ssl.create_default_context(cafile=str(certificate.cert_file))
    url = relay.url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await stage.http.ws_connect(url, ssl=trusting)
    assert refusal.value.status == 401
    headers = {"Authorization": "Bearer the-client-token"}
    socket = await stage.http.ws_connect(url, ssl=trusting, headers=headers)
    assert await Peer(socket).message("connection_established")
    await socket.close()


async def test_a_certificate_of_no_use_is_told(
    stage: Stage, gateway: Gateway, tmp_path: Path
) -> None:
    with pytest.raises(BadConfiguration, match="tls_cert_file"):
        await stage.open_relay(gateway.url, tls_cert_file=str(tmp_path / "nowhere.pem"))
    with pytest.raises(BadConfiguration, match="tls_key_file"):
        await stage.open_relay(gateway.url, tls_key_file=str(tmp_path / "nowhere.pem"))
