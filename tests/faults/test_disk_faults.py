"""A disk that is full, cannot be written, or is slow: traffic goes on and the operator hears."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import signal
import time
from pathlib import Path

import pytest

from megabot_cli.storage.recording_folder import is_sealed
from tests.faults.rig import Rig
from tests.faults.upstreams import echo
from tests.storage.conftest import read
from tests.support.disks import fill, small_disk
from tests.support.processes import wait_until

# Loaded by Python itself in the relay and in its writer process.
SLOW_DISK = """
import os, time
for _name in ("fsync", "fdatasync"):
    def _slow(file, _true=getattr(os, _name)):
        time.sleep(1.0)
        return _true(file)
    setattr(os, _name, _slow)
"""


def run_file(rig: Rig) -> str:
    """What says where the running relay is."""
    (path,) = rig.processes.home.glob("**/relay-*.json")
    return path.read_text()


async def test_a_full_disk_stops_the_recording_loudly_and_nothing_else(
    rig: Rig, tmp_path: Path
) -> None:
    disk = rig.stack.enter_context(small_disk(tmp_path / "disk", "size=256k"))
    server = await rig.upstream(echo)
    await rig.open_relay(server.url, record=True, recording={"enabled": True, "folder": str(disk)})
    client = await rig.client()
    async with asyncio.timeout(30):
        while not (numbers := await rig.metrics())["recorder_disk_full"]:
            # One at a time: what waits together is written together, or not at all.
            if not numbers["recorder_queue_records"]:
                await client.ask("x" * 9000)
                await client.settled()
    for _ in range(20):
        await client.ask("goes on")
    assert set(await client.settled()) == {"reply"}
    assert await rig.metric("recorder_healthy") == 0
    line = await rig.logged("recording.failed")
    assert "No space left" in line
    async with rig.http.get(f"{rig.admin}/readyz") as answer:
        assert answer.status == 200
    status = await asyncio.to_thread(rig.processes.run, "relay", "status", "--json")
    assert "No space left" in json.loads(status.output)["recording"]["fault"]
    marked = await asyncio.to_thread(rig.processes.run, "relay", "mark", "too late")
    assert marked.wait() == 14
    assert "No recording has the mark" in marked.errors
    (folder,) = disk.iterdir()
    verdict = await asyncio.to_thread(
        rig.processes.run, "recordings", "verify", str(folder), "--json", "--no-secrets"
    )
    assert json.loads(verdict.output)["records"] > 10


@pytest.mark.parametrize("by_signal", [False, True])
async def test_with_room_again_a_reload_begins_another_recording(
    rig: Rig, tmp_path: Path, *, by_signal: bool
) -> None:
    disk = rig.stack.enter_context(small_disk(tmp_path / "disk", "size=512k"))
    filling, rest = disk / "another's", disk / "the rest"
    filling.write_bytes(b"x" * 300_000)
    server = await rig.upstream(echo)
    folder = disk / "rec"
    await rig.open_relay(
        server.url, record=True, recording={"enabled": True, "folder": str(folder)}
    )
    client = await rig.client()
    await rig.client()  # one that says nothing
    async with asyncio.timeout(30):
        while await rig.metric("recorder_healthy"):
            await client.ask("x" * 9000)
            await client.settled()
    with pytest.raises(OSError, match="No space left"):
        fill(rest)
    early = await asyncio.to_thread(rig.processes.run, "relay", "reload")
    assert early.wait() == 14
    assert "Reloaded, but nothing is recorded yet" in early.errors
    assert "relay reload" in early.errors
    assert "Only after a restart" not in early.errors
    written = rig.folder / "config-1.yaml"
    config = written.read_text()
    written.write_text(config.replace(str(folder), str(tmp_path / "elsewhere")))
    early = await asyncio.to_thread(rig.processes.run, "relay", "reload")
    assert "Only after a restart: recording.folder" in early.errors
    written.write_text(config)
    filling.unlink()
    if by_signal:
        rig.relay.signal(signal.SIGHUP)
        await rig.logged("recording.begun_again")
    else:
        reloaded = await asyncio.to_thread(rig.processes.run, "relay", "reload")
        assert reloaded.wait() == 0
        assert "recording again, in rec_" in reloaded.errors
    assert await rig.metric("recorder_healthy") == 1
    assert await rig.metric("recorder_disk_full") == 0
    newest = max(folder.iterdir())
    found = functools.partial(wait_until, lambda: newest.name in run_file(rig), "its run file")
    await asyncio.to_thread(found)  # the other commands find it too
    for _ in range(10):
        await client.ask("goes on")
    assert set(await client.settled()) == {"reply"}
    rig.relay.signal(signal.SIGTERM)
    assert await rig.ends() == 0
    before, after = sorted(folder.iterdir())
    assert is_sealed(before)
    assert is_sealed(after)
    kinds = [record.kind for record in read(before)]
    assert kinds[-2:] == ["fault", "gap"]
    records = read(after)
    known = {record.client: record.link for record in read(before) if record.kind == "open"}
    opened = [record for record in records if record.kind == "open"]
    assert {record.client: record.link for record in opened} == known
    greetings = [record for record in records if record.type == "connection_established"]
    assert len(greetings) == len({record.link for record in opened})
    assert {record.kind for record in records[: len(opened) + len(greetings)]} == {
        "open",
        "message",
    }
    assert all(record.user for record in records if record.kind == "message")
    asked = [record for record in records if record.direction == "to_upstream"]
    assert len(asked) == 10
    assert all("goes on" in (record.data or "") for record in asked)


async def test_a_full_disk_stops_the_relay_where_that_was_asked_for(
    rig: Rig, tmp_path: Path
) -> None:
    disk = rig.stack.enter_context(small_disk(tmp_path / "disk", "size=256k"))
    server = await rig.upstream(echo)
    settings = {"enabled": True, "folder": str(disk), "on_disk_full": "stop_relay"}
    await rig.open_relay(server.url, record=True, recording=settings)
    client = await rig.client()
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(30):
            while not client.closed.is_set():
                await client.ask("x" * 9000)
                await asyncio.sleep(0.005)
    assert client.close_code == 1012
    assert await rig.ends() == 14
    assert "on_disk_full" in rig.relay.errors
    (folder,) = disk.iterdir()
    what = "sealed" if is_sealed(folder) else "left_unclean"
    assert f"recording.{what}" in rig.relay.errors
    client.ledger.outcomes.clear()


async def test_a_disk_that_cannot_be_written_is_told_at_the_start(rig: Rig, tmp_path: Path) -> None:
    disk = rig.stack.enter_context(small_disk(tmp_path / "disk", "size=256k,ro"))
    server = await rig.upstream(echo)
    relay = await asyncio.to_thread(
        rig.processes.run,
        *("relay", "--upstream", server.url, "--listen", ":0", "--admin-listen", ":0"),
        *("--record", str(disk)),
        env={"MEGABOT_API_KEY": "a-key"},
    )
    assert relay.end() == 12
    assert relay.output == ""
    assert str(disk) in relay.errors
    assert "Read-only" in relay.errors


@pytest.mark.alone
@pytest.mark.parametrize("fsync", ["interval", "always"])
async def test_a_slow_disk_holds_up_no_message(rig: Rig, tmp_path: Path, fsync: str) -> None:
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "sitecustomize.py").write_text(SLOW_DISK)
    server = await rig.upstream(echo)
    await rig.open_relay(
        server.url,
        record=True,
        env={"PYTHONPATH": str(tmp_path / "slow")},
        recording={"enabled": True, "fsync": fsync, "fsync_interval_s": 0.1},
    )
    client = await rig.client()
    slowest = 0.0
    began = time.monotonic()
    while time.monotonic() - began < 4:
        asked_at = time.monotonic()
        await client.ask("hello")
        await client.settled()
        slowest = max(slowest, time.monotonic() - asked_at)
        await asyncio.sleep(0.01)  # all that waits has to be written when the relay ends
    assert slowest < 0.8
    assert await rig.metric("recorder_dropped_records_total") == 0
    assert await rig.metric("recorder_lost_records_total") == 0
