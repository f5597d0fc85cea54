"""A recording that begins while the relay works knows the links and clients that are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from megabot_cli.config.schema import RecordingSettings
from megabot_cli.gateway.server import Gateway
from megabot_cli.recording.record import Record
from megabot_cli.relay.server import Relay
from megabot_cli.relay.still_open import tell_what_is_open
from megabot_cli.relay.taps import Taps
from megabot_cli.relay.witness import Witness
from megabot_cli.storage.recorder import Recorder
from megabot_cli.storage.recording_reader import open_recording
from tests.relay.conftest import Stage
from tests.relay.flat_upstreams import greeted, open_relay, open_upstream


def begun(folder: Path) -> Recorder:
    recorder = Recorder(folder, RecordingSettings(), tool="megabot test", upstream="ws://x")
    recorder.start()
    return recorder


def told(recorder: Recorder) -> list[Record]:
    recorder.close()
    with open_recording(recorder.folder) as reader:
        return list(reader)


def told_of(relay: Relay, folder: Path) -> list[Record]:
    recorder = begun(folder)
    tell_what_is_open(recorder, relay.identities.values(), relay.main.parts.witness)
    return told(recorder)


@pytest.mark.parametrize("mode", ["session", "shared"])
async def test_links_stand_with_their_greeting_and_then_their_clients(
    stage: Stage, gateway: Gateway, tmp_path: Path, mode: str
) -> None:
    relay = await stage.open_relay(gateway.url, mode=mode)
    _, name = await stage.greeted(relay.url, "s1")
    await stage.greeted(relay.url, "s1")
    records = [each for each in told_of(relay, tmp_path / "rec") if each.session == name]
    link, greeting, *clients = records
    assert (link.kind, link.client) == ("open", None)
    assert link.user is not None
    assert (greeting.type, greeting.direction) == ("connection_established", "to_client")
    assert [each.kind for each in clients] == ["open", "open"]
    assert {each.client for each in clients} == {each.id for each in relay.local_clients}
    assert {each.link for each in records} == {link.link}
    assert {each.user for each in records} == {link.user}


async def test_in_dedicated_mode_it_is_each_client_with_its_link(
    stage: Stage, gateway: Gateway, tmp_path: Path
) -> None:
    relay = await stage.open_relay(gateway.url, mode="dedicated")
    _, name = await stage.greeted(relay.url)
    (record,) = told_of(relay, tmp_path / "rec")
    (pair,) = relay.pairs
    facts = (record.kind, record.client, record.link, record.session)
    assert facts == ("open", pair.client_id, pair.link_id, name)
    assert record.user is not None


@pytest.mark.parametrize(
    ("mode", "kinds"),
    [("session", ["open", "message", "open"]), ("dedicated", ["open", "message"])],
)
async def test_no_answer_of_a_flat_upstream_will_pass_for_its_greeting(
    stage: Stage, tmp_path: Path, mode: str, kinds: list[str]
) -> None:
    upstream = await open_upstream()
    try:
        relay = await open_relay(stage, upstream, mode=mode)
        await greeted(stage, relay.url)
        assert [each.kind for each in told_of(relay, tmp_path / "rec")] == kinds
    finally:
        await upstream.stop()


async def test_what_passes_meanwhile_stands_behind_it(tmp_path: Path) -> None:
    recorder = begun(tmp_path)
    witness = Witness(recorder, Taps(lambda _: None), debug=False)
    with witness.holding(recorder):
        assert witness.watching
        assert witness.together is None
        witness.message("to_client", b"{}", None, "link_1", "s1")
        witness.fact("close", link="link_1")
        recorder.put("open", link="link_1")
    witness.message("to_client", b"{}", None, "link_2", "s1")
    kinds = [(each.kind, each.link) for each in told(recorder)]
    assert kinds == [
        ("open", "link_1"),
        ("message", "link_1"),
        ("close", "link_1"),
        ("message", "link_2"),
    ]
    assert witness.together is not None
