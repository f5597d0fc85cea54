"""With a key the gateway signs what it sends, and may demand the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from megabot_cli.client.connection import MegaBotClient
from megabot_cli.client.wire_form import open_signer
from megabot_cli.config.schema import IntegritySettings
from megabot_cli.errors import BadConfiguration, NotFound, UpstreamRefused
from megabot_cli.protocol.signing import Signer
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import House

KEY = b"0123456789abcdef0123456789abcdef"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "signing.key"
    path.write_bytes(KEY + b"\n")
    path.chmod(0o600)
    return path


async def signing_house(open_house: OpenHouse, key_file: Path, *, require: bool) -> House:
    integrity = IntegritySettings(key_file=str(key_file), require=require)
    return await open_house(gateway={"integrity": integrity})


async def test_everything_that_is_sent_is_signed(open_house: OpenHouse, key_file: Path) -> None:
    house = await signing_house(open_house, key_file, require=False)
    async with house.connected() as peer:
        message_id = await peer.say("hello")
        await peer.answer(message_id)
        for message in peer.received:
            assert message["metadata"]["signature"].startswith("hmac-sha256:")


async def test_an_unsigned_message_is_refused_by_id_and_the_connection_stays(
    open_house: OpenHouse, key_file: Path
) -> None:
    house = await signing_house(open_house, key_file, require=True)
    async with house.connected() as peer:
        message_id = await peer.say("unsigned")
        refusal = await peer.until("connection_error", message_id)
        assert refusal["payload"]["error"] == "bad_signature"
        assert "$.metadata.signature" in refusal["payload"]["message"]
        signed = Signer(KEY).sign(
            json.dumps({"id": "m2", "type": "chat_send", "payload": {"content": "x"}}).encode()
        )
        await peer.send_text(signed.replace(b'"x"', b'"y"').decode())
        assert (await peer.until("connection_error", "m2"))["payload"]["error"] == "bad_signature"
        await peer.send_text(signed.decode())
        assert await peer.answer("m2")


@pytest.mark.parametrize("compression", ["deflate", "gzip", "none"])
async def test_our_client_signs_and_checks(
    open_house: OpenHouse, key_file: Path, compression: str
) -> None:
    house = await signing_house(open_house, key_file, require=True)
    async with MegaBotClient(
        house.gateway.url,
        api_key=house.key,
        compression=compression,  # type: ignore[arg-type]
        signer=Signer(KEY),
        require_signatures=True,
    ) as client:
        answer = await client.ask("word " * 1500, timeout_s=5)
        assert "word word" in answer.text
        assert client.unsigned == 0


async def test_our_client_refuses_an_upstream_that_does_not_sign(house: House) -> None:
    client = MegaBotClient(
        house.gateway.url, api_key=house.key, signer=Signer(KEY), require_signatures=True
    )
    with pytest.raises(UpstreamRefused, match="signed"):
        await client.open()


def test_a_key_file_of_no_use_is_told(key_file: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="not there"):
        open_signer(str(tmp_path / "nowhere"))
    key_file.chmod(0o644)
    with pytest.raises(BadConfiguration, match="others"):
        open_signer(str(key_file))
    key_file.chmod(0o600)
    key_file.write_bytes(b"short")
    with pytest.raises(BadConfiguration, match="16 bytes"):
        open_signer(str(key_file))


async def test_to_demand_signatures_without_a_key_is_told_at_the_start(
    open_house: OpenHouse,
) -> None:
    with pytest.raises(BadConfiguration, match="key_file"):
        await open_house(gateway={"integrity": IntegritySettings(require=True)})
