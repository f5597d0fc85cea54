"""What the flight recorder keeps, and when it is written."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from megabot_cli.config.schema import RecordingSettings
from megabot_cli.errors import BadConfiguration
from megabot_cli.gateway.server import Gateway
from megabot_cli.relay import trigger
from megabot_cli.relay.flight import ITEM_BYTES, FlightRecorder
from megabot_cli.relay.operations import Dumps
from megabot_cli.storage.recording_reader import open_recording
from megabot_cli.storage.recordings_list import find_recording, list_recordings
from megabot_cli.storage.verification import verify
from tests.relay.conftest import Stage, until
from tests.relay.test_control import ask, tell
from tests.support.disks import small_disk


async def test_the_flight_recorder_is_written_as_a_recording_without_secrets(
    stage: Stage, gateway: Gateway
) -> None:
    dumps = Dumps(stage.folder / "dumps", RecordingSettings(compress="zstd"))
    relay = await stage.open_relay(gateway.url, flight_recorder_s=60.0, dumps=dumps)
    peer, _ = await stage.greeted(relay.url)
    await peer.send("chat_send", "m1", content="hi", api_key="sk-" + "abcdefgh" * 5)
    await peer.message("chat_receive")
    status, body = await tell(stage, relay, "dump", reason="a strange answer")
    assert status == 200
    assert os.listdir(body["recording"]) == ["000001.jsonl.zst"]
    found = verify(Path(body["recording"]), secrets=True)
    assert (found.clean, found.secrets_found) == (True, 0)
    with open_recording(Path(body["recording"])) as reader:
        assert reader.header is not None
        assert reader.header.upstream == gateway.url
    with open_recording(Path(body["recording"])) as reader:
        types = [record.type for record in reader]
        assert reader.header is not None
        assert reader.header.labels["flight_recorder"] == "a strange answer"
        assert reader.header.labels["dumped_at"] > reader.header.started_at
    assert "chat_send" in types
    assert "chat_receive" in types


def _open_files_in(folder: Path) -> list[str]:
    links = []
    for each in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # closed meanwhile: that of this very list
            links.append(os.readlink(f"/proc/self/fd/{each}"))
    return [link for link in links if link.startswith(str(folder))]


async def test_a_dump_that_finds_no_room_leaves_nothing_and_may_be_tried_again(
    stage: Stage, gateway: Gateway
) -> None:
    with small_disk(stage.folder / "dumps", "size=256k") as folder:
        relay = await stage.open_relay(
            gateway.url, flight_recorder_s=60.0, dumps=Dumps(folder, RecordingSettings())
        )
        peer, _ = await stage.greeted(relay.url)
        for number in range(8):
            await peer.send("user_message", f"m{number}", content="x" * 50_000)
        await until(lambda: relay.numbers.messages_to_upstream == 8)
        for _ in range(2):
            status, body = await tell(stage, relay, "dump")
            assert status >= 400
            assert "No space left" in body["message"]
            assert os.listdir(folder) == []
        assert not _open_files_in(folder)
        remount = ("mount", "-o", "remount,size=4m", str(folder))
        assert await (await asyncio.create_subprocess_exec(*remount)).wait() == 0
        status, body = await tell(stage, relay, "dump")
        assert status == 200
        assert verify(Path(body["recording"])).clean


async def test_what_is_no_message_is_written_as_it_was_kept(stage: Stage, gateway: Gateway) -> None:
    dumps = Dumps(stage.folder / "dumps", RecordingSettings())
    relay = await stage.open_relay(gateway.url, flight_recorder_s=60.0, dumps=dumps)
    peer, session = await stage.greeted(relay.url)
    await peer.socket.close(code=1000)
    await until(lambda: not relay.gauges().clients)
    await tell(stage, relay, "mark", text="deployed")
    _, body = await tell(stage, relay, "dump")
    with open_recording(Path(body["recording"])) as reader:
        facts = [each for each in reader if each.kind != "message"]
    assert {each.kind for each in facts} == {"open", "inject", "close", "mark"}
    closed = next(each for each in facts if each.kind == "close")
    assert (closed.code, closed.by, closed.session) == (1000, "client", session)
    assert [each.note for each in facts if each.kind == "mark"] == ["deployed"]


async def test_the_last_recording_is_the_dump_that_was_made_last(
    stage: Stage, gateway: Gateway
) -> None:
    folder = stage.folder / "dumps"
    dumps = Dumps(folder, RecordingSettings())
    relay = await stage.open_relay(gateway.url, flight_recorder_s=60.0, dumps=dumps)
    peer, _ = await stage.greeted(relay.url)
    # All reach back to the same moment.
    for number in range(4):
        await peer.send("chat_send", f"m{number}", content="hi")
        await peer.message("chat_receive")
        _, body = await tell(stage, relay, "dump")
        assert find_recording(folder, "last") == Path(body["recording"])
    listed = [info.id for info in list_recordings(folder)]
    assert listed == sorted(listed, reverse=True)


@pytest.mark.parametrize(
    "condition",
    ['type == "chat_receive" && text.contains("find me")', 'text.matches("find.(me|you)")'],
    ids=["plain", "for the engine"],
)
async def test_a_record_that_is_waited_for_writes_the_flight_recorder_once(
    stage: Stage, gateway: Gateway, condition: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trigger, "AFTERMATH_S", 0.3)
    folder = stage.folder / "dumps"
    relay = await stage.open_relay(
        gateway.url,
        flight_recorder_s=60.0,
        flight_recorder_trigger=condition,
        dumps=Dumps(folder, RecordingSettings()),
    )
    assert (await ask(stage, relay, "status"))["taps"] == 0
    peer, _ = await stage.greeted(relay.url)
    for number, content in enumerate(("not yet", "find me", "and what follows", "find me too")):
        await peer.send("chat_send", f"m{number}", content=content)
        await peer.message("chat_receive")
    await until(lambda: folder.exists() and list(folder.glob("*/*.jsonl")))
    (dump,) = folder.iterdir()
    with open_recording(dump) as reader:
        ids = {record.id for record in reader}
        assert reader.header is not None
        assert reader.header.labels["flight_recorder"] == f"trigger: {condition}"
    assert {"m0", "m1", "m2"} <= ids
    facts = (await ask(stage, relay, "status"))["flight_recorder"]
    assert facts["trigger"] == condition
    assert facts["hits"] > 0


async def test_what_a_trigger_has_seen_is_written_also_when_the_relay_stops_then(
    stage: Stage, gateway: Gateway
) -> None:
    folder = stage.folder / "dumps"
    relay = await stage.open_relay(
        gateway.url,
        flight_recorder_s=60.0,
        flight_recorder_trigger='type == "chat_receive"',
        dumps=Dumps(folder, RecordingSettings()),
    )
    peer, _ = await stage.greeted(relay.url)
    await peer.send("chat_send", "m1", content="hello")
    await until(lambda: relay.trigger is not None and relay.trigger.hits)
    await relay.stop()
    (dump,) = folder.iterdir()
    assert verify(dump).clean


@pytest.mark.parametrize(
    ("kept_s", "said"),
    [
        pytest.param(0.0, "which is off", id="nothing to write"),
        pytest.param(9.0, "flight_recorder_trigger: ", id="no condition"),
    ],
)
async def test_a_trigger_of_no_use_is_told_at_the_start(
    stage: Stage, gateway: Gateway, kept_s: float, said: str
) -> None:
    with pytest.raises(BadConfiguration, match=said):
        await stage.open_relay(
            gateway.url, flight_recorder_s=kept_s, flight_recorder_trigger="type =="
        )


async def test_without_a_flight_recorder_a_dump_says_how_to_have_one(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url)
    status, body = await tell(stage, relay, "dump")
    assert status == 404
    assert "--ring" in body["hint"]


def test_the_flight_recorder_keeps_the_last_of_it_within_its_bounds() -> None:
    now = 0

    def clock() -> int:
        return now

    flight = FlightRecorder(10.0, 10 * (ITEM_BYTES + 100), clock=clock)
    for number in range(50):
        now = number * 10**9
        flight.put("message", data=b"x" * 100, id=str(number))
    kept = [item[7] for item in flight.snapshot()]
    assert kept == [str(number) for number in range(40, 50)]
    now = 55 * 10**9
    assert [item[7] for item in flight.snapshot()] == ["45", "46", "47", "48", "49"]
    flight.put("message", data=b"x" * 10**6)
    assert len(flight) == 0
    assert flight.bytes == 0
