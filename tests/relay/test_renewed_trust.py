"""Files by which relay and upstream trust each other are renewed while the relay runs."""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
from pathlib import Path

import aiohttp
import pytest

from megabot_cli.config.schema import LimitSettings, ProfileSettings, RelaySettings, TlsSettings
from megabot_cli.gateway.server import Gateway
from megabot_cli.relay.reloading import Reread
from megabot_cli.relay.server import Relay
from tests.relay.conftest import Stage
from tests.relay.test_control import tell
from tests.support.certificates import Certificate, make_authority
from tests.support.upstream import ScriptedUpstream


class Files:
    """Those of a profile that shows who it is, and of the authority that both sides trust."""

    def __init__(self, folder: Path) -> None:
        (folder / "foreign").mkdir()
        self.authority = make_authority(folder)
        self.foreign = make_authority(folder / "foreign")
        self.settings = TlsSettings(
            ca_file=str(folder / "trusted.pem"),
            client_cert_file=str(folder / "client.pem"),
            client_key_file=str(folder / "client.key"),
        )

    def trust(self, text: bytes) -> None:
        Path(str(self.settings.ca_file)).write_bytes(text)

    def show(self, certificate: Certificate) -> None:
        Path(str(self.settings.client_cert_file)).write_bytes(certificate.cert_file.read_bytes())
        Path(str(self.settings.client_key_file)).write_bytes(certificate.key_file.read_bytes())

    def upstream(self) -> ScriptedUpstream:
        """One that lets in who shows a certificate of that authority."""
        own = self.authority.issue("127.0.0.1")
        context = ssl.create_default_context(
            ssl.Purpose.CLIENT_AUTH, cafile=str(self.authority.cert_file)
        )
        context.load_cert_chain(own.cert_file, own.key_file)
        context.verify_mode = ssl.CERT_REQUIRED
        return ScriptedUpstream(tls=context)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "files").mkdir()
    return Files(tmp_path / "files")


async def open_relay(stage: Stage, gateway: Gateway, url: str, files: Files, mode: str) -> Relay:
    """Its profile `strict` is at an upstream with certificates."""
    strict = dataclasses.replace(
        stage.served("strict", url), profile=ProfileSettings(url=url, tls=files.settings)
    )
    settings = RelaySettings(mode=mode)  # type: ignore[arg-type]
    now = Reread(settings, LimitSettings(messages_per_second=0))
    return await stage.open_relay(gateway.url, also=[strict], mode=mode, read_settings=lambda: now)


async def greeted_soon(stage: Stage, url: str) -> None:
    """In `dedicated` mode nobody is dialled for in the second after a dial that failed."""
    async with asyncio.timeout(5.0):
        while True:
            try:
                await stage.greeted(url)
                return
            except aiohttp.WSServerHandshakeError:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("mode", ["session", "dedicated"])
async def test_a_reload_shows_the_upstream_a_renewed_certificate(
    stage: Stage, gateway: Gateway, files: Files, mode: str
) -> None:
    files.trust(files.authority.cert_file.read_bytes())
    files.show(files.foreign.issue("client"))
    async with files.upstream() as upstream:
        relay = await open_relay(stage, gateway, upstream.url, files, mode)
        assert relay.identities["strict"].fault is not None
        files.show(files.authority.issue("client"))
        _, told = await tell(stage, relay, "reload")
        names = ["profiles.strict.tls.client_cert_file", "profiles.strict.tls.client_key_file"]
        assert [each for each in told["changed"] if each.startswith("profiles")] == names
        await greeted_soon(stage, f"{relay.url}/strict")
        _, told = await tell(stage, relay, "reload")
        assert not [each for each in told["changed"] if each.startswith("profiles")]


async def test_a_reload_trusts_what_the_file_says_now_and_leaves_all_as_it_is_where_that_is_bad(
    stage: Stage, gateway: Gateway, files: Files
) -> None:
    files.trust(files.foreign.cert_file.read_bytes())
    files.show(files.authority.issue("client"))
    async with files.upstream() as upstream:
        relay = await open_relay(stage, gateway, upstream.url, files, "session")
        fault = relay.identities["strict"].fault
        assert fault is not None
        assert "is not trusted" in fault.message
        files.trust(b"no certificate")
        status, told = await tell(stage, relay, "reload")
        assert (status, "tls.ca_file" in told["message"]) == (400, True)
        files.trust(files.authority.cert_file.read_bytes())
        _, told = await tell(stage, relay, "reload")
        assert "profiles.strict.tls.ca_file" in told["changed"]
        await stage.greeted(f"{relay.url}/strict")
