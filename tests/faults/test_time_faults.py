"""Time that stands still or jumps: nobody is disconnected for it, and no token is lost."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from megabot_cli.storage.recording_reader import open_recording
from tests.faults.rig import Rig
from tests.faults.test_credential_faults import Issuer, talk
from tests.faults.upstreams import echo

# Loaded by Python itself at the start of the relay: the wall clock is as far off as a file says.
JUMPING_CLOCK = """
import os, time
_true = time.time
def _jumped():
    try:
        with open(os.environ["CLOCK_OFFSET"]) as file:
            return _true() + float(file.read() or 0)
    except OSError:
        return _true()
time.time = _jumped
"""


@pytest.mark.timeout(120)
async def test_a_relay_that_stood_still_for_8_s_disconnects_nobody_and_its_lag_shows(
    rig: Rig,
) -> None:
    server = await rig.upstream(echo)
    await rig.open_relay(server.url, relay={"mode": "shared", "heartbeat_s": 3.0})
    clients = [await rig.client() for _ in range(20)]
    await asyncio.sleep(2.4)  # some pings are on their way, or about to be
    rig.relay.signal(signal.SIGSTOP)
    await asyncio.sleep(8.0)
    rig.relay.signal(signal.SIGCONT)
    for client in clients:
        await client.ask("still there")
        assert await client.settled() == {"reply": 1}
        assert client.statuses() == []
    await asyncio.sleep(2.0)  # judged by what came meanwhile, were it wrong
    assert not any(client.closed.is_set() for client in clients)
    numbers = await rig.metrics()
    assert numbers["event_loop_lag_seconds_sum"] > 5.0
    assert numbers["reconnects_total"] == 0


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0], ids=["forward", "back"])
async def test_a_wall_clock_that_jumps_an_hour_loses_no_link_and_no_message(
    rig: Rig, tmp_path: Path, jump_s: float
) -> None:
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(JUMPING_CLOCK)
    offset = tmp_path / "clock" / "offset"
    issuer = Issuer(lifetime_s=1800.0)
    answers = {"on_login": issuer.issue, "on_refresh": issuer.renew, "gate": issuer.gate}
    server = await rig.upstream(talk, **answers)
    await rig.log_in(server.url)
    await rig.open_relay(
        server.url,
        key=None,
        env={"PYTHONPATH": str(tmp_path / "clock"), "CLOCK_OFFSET": str(offset)},
        record=True,
    )
    clients = [await rig.client() for _ in range(3)]
    offset.write_text(str(jump_s))
    began = time.monotonic()
    while time.monotonic() - began < 4:
        for client in clients:
            await client.ask("hello")
            await client.settled()
        await asyncio.sleep(0.2)
    for client in clients:
        assert set(client.ledger.counted()) == {"reply"}
        assert client.statuses() == []
    (recording,) = (rig.processes.home / "recordings").iterdir()
    with open_recording(recording) as reader:
        offsets_us = [record.t for record in reader]
    assert offsets_us == sorted(offsets_us)
    assert 3e6 < offsets_us[-1] < 60e6
    # Forward, the token seems to have ended: it is renewed, again and again at no great pace.
    assert len(issuer.renewals) <= 5
    assert bool(issuer.renewals) == (jump_s > 0)
