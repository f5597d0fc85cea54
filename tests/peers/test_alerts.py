"""Every alert here comes of a real fault: a relay in trouble is scraped by a real Prometheus.

What the rules wait for in minutes is seconds here, or less; what they ask for is as it ships.
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from megabot_cli.relay.loop_lag import EVERY_S
from tests.faults.rig import Rig, open_rig
from tests.faults.test_client_faults import Flood, raw_client
from tests.faults.test_credential_faults import RENEWED, Issuer, talk
from tests.faults.upstreams import echo
from tests.peers.programs import needs
from tests.peers.prometheus import Prometheus, running_prometheus
from tests.support.certificates import make_aged_certificate, make_certificate
from tests.support.disks import small_disk
from tests.support.ports import kept_port
from tests.support.processes import Processes, processes, running_processes, wait_until
from tests.telemetry.promql import RULES

__all__ = ["processes"]

MOST_RELAYS = 9
RECORDING, ALERTS = RULES
HELD_FOR = re.compile(r"(?<=min_over_time)(\([^\[]+\[)(\d+)m\]")
APART = {"enabled": True, "writer": "process"}
# On a busy machine a relay is late now and then: no fault of what is tried.
LAG = "MegabotRelayEventLoopLag"


def quicker(rules: str) -> str:
    """The same rules for people in a hurry: what must have lasted minutes need last seconds."""
    document = yaml.safe_load(HELD_FOR.sub(r"\1\g<2>00ms]", rules))
    for group in document["groups"]:
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = "500ms"
    return yaml.safe_dump(document)


class Watched:
    """The place of one relay among what Prometheus scrapes."""

    def __init__(self, prometheus: Prometheus, instance: str, port: int) -> None:
        self.prometheus = prometheus
        self.instance = instance
        self.admin_listen = f"127.0.0.1:{port}"

    async def open_relay(
        self, rig: Rig, upstream: str, relay: dict[str, Any] | None = None, **more: Any
    ) -> None:
        """As the rig does. Until Prometheus has it nothing is known of it but that it is down."""
        settings = {**(relay or {}), "admin_listen": self.admin_listen}
        await rig.open_relay(upstream, relay=settings, **more)

    async def fires(self, *names: str, limit_s: float = 20.0) -> dict[str, str]:
        """Wait until these alerts fire and no others, but for LAG; what each says of it."""
        deadline = time.monotonic() + limit_s
        while (firing := await self._firing()).keys() - ({LAG} - set(names)) != set(names):
            assert time.monotonic() < deadline, f"{sorted(firing)} fire, and not {sorted(names)}"
            await asyncio.sleep(0.1)
        for alert in firing.values():
            assert self.instance in alert["annotations"]["summary"]
            assert "no value" not in str(alert["annotations"])
        return {name: str(alert["annotations"]["summary"]) for name, alert in firing.items()}

    async def is_well(self) -> None:
        """Wait until it is scraped and nobody is alarmed."""
        await asyncio.to_thread(wait_until, self._up, f"{self.instance} is scraped", 20.0)
        await self.fires()

    async def has_known(self, metric: str) -> None:
        """Wait until each rule has been looked at since `metric` became more than 0."""
        asked = f'megabot_relay_{metric}{{instance="{self.instance}"}} offset 1s > 0'
        await asyncio.to_thread(
            wait_until, lambda: bool(self.prometheus.samples(asked)), f"{metric} is known", 20.0
        )

    def _up(self) -> bool:
        return self.prometheus.samples(f'up{{instance="{self.instance}"}}') == [1]

    async def _firing(self) -> dict[str, Any]:
        return await asyncio.to_thread(self.prometheus.firing, self.instance)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[Watched]]:
    """Places for relays to come, and the one Prometheus that looks there."""
    folder = tmp_path_factory.mktemp("prometheus")
    quick = folder / ALERTS.name
    quick.write_text(quicker(ALERTS.read_text(encoding="utf-8")))
    with ExitStack() as kept, running_processes(folder) as running:
        port, *ports = [kept.enter_context(kept_port()) for _ in range(1 + MOST_RELAYS)]
        named = {f"relay-{number}": port for number, port in enumerate(ports)}
        targets = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name}}
            for name, port in named.items()
        ]
        with running_prometheus(running, folder, port, targets, [RECORDING, quick]) as prometheus:
            yield (Watched(prometheus, name, port) for name, port in named.items())


@pytest.fixture
def watched(places: Iterator[Watched]) -> Watched:
    return next(places)


@pytest.fixture
async def rig(processes: Processes, tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(processes, tmp_path) as rig:
        yield rig


def writer_of(rig: Rig) -> int:
    """The process id of the recorder's writer, where the relay was told to have one apart."""
    children = Path(f"/proc/{rig.relay.pid}/task/{rig.relay.pid}/children")
    if not children.exists():
        pytest.skip("the relay's children cannot be seen: this needs Linux' /proc")
    (writer,) = children.read_text().split()
    return int(writer)


async def log_in_anew(rig: Rig, url: str) -> None:
    """What the alerts about a token say is to be done."""
    await rig.log_in(url)
    done = await asyncio.to_thread(rig.processes.run, "relay", "reauth")
    assert done.end() == 0, done.errors


@needs("prometheus")
async def test_a_writer_that_hangs_alarms_for_its_lag_and_what_is_lost(
    rig: Rig, watched: Watched
) -> None:
    server = await rig.upstream(echo)
    settings = {**APART, "on_pressure": "gap", "queue_records": 100}
    await watched.open_relay(rig, server.url, recording=settings)
    client = await rig.client()
    # At once, and in the first test: Prometheus needs as long before it looks at all.
    writer = writer_of(rig)
    os.kill(writer, signal.SIGSTOP)
    try:
        await client.ask("hello")
        said = await watched.fires("MegabotRelayRecorderLagging")
        for _ in range(100):
            await client.ask("hello")
        await client.settled()
        await watched.fires("MegabotRelayRecorderLagging", "MegabotRelayRecorderLosing")
    finally:
        os.kill(writer, signal.SIGCONT)
    assert re.search(r"\b\d+ s late", said["MegabotRelayRecorderLagging"])
    await watched.fires("MegabotRelayRecorderLosing")


@needs("prometheus")
async def test_a_recording_that_may_grow_no_further_alarms(rig: Rig, watched: Watched) -> None:
    server = await rig.upstream(echo)
    await watched.open_relay(rig, server.url, recording=APART)
    client = await rig.client()
    await watched.is_well()
    # A quota, as `ulimit -f` sets one; no disk is full.
    resource.prlimit(writer_of(rig), resource.RLIMIT_FSIZE, (4096, 4096))
    while await rig.metric("recorder_healthy"):
        await client.ask("x" * 1000)
        await client.settled()
    await client.ask("goes on")
    await client.settled()
    await watched.has_known("recorder_dropped_records_total")
    await watched.fires("MegabotRelayRecorderStopped")


@needs("prometheus")
async def test_a_full_disk_alarms_by_its_name(rig: Rig, watched: Watched, tmp_path: Path) -> None:
    disk = rig.stack.enter_context(small_disk(tmp_path / "disk", "size=256k"))
    server = await rig.upstream(echo)
    settings = {"enabled": True, "folder": str(disk)}
    await watched.open_relay(rig, server.url, recording=settings)
    client = await rig.client()
    await watched.is_well()
    while await rig.metric("recorder_healthy"):
        await client.ask("x" * 9000)
        await client.settled()
    await client.ask("goes on")
    await client.settled()
    await watched.has_known("recorder_dropped_records_total")
    await watched.fires("MegabotRelayRecorderDiskFull", "MegabotRelayRecorderStopped")


@needs("prometheus")
async def test_a_token_that_is_not_renewed_alarms_until_somebody_does_it_and_a_short_one_does_not(
    rig: Rig, watched: Watched
) -> None:
    issuer = Issuer(lifetime_s=4.0)
    answers = {"on_login": issuer.issue, "on_refresh": issuer.renew, "gate": issuer.gate}
    server = await rig.upstream(talk, **answers)
    await rig.log_in(server.url)
    await watched.open_relay(rig, server.url, key=None)
    await watched.is_well()
    await rig.metric_reaches(RENEWED, 2)
    await watched.is_well()
    issuer.trouble = [web.Response(status=500) for _ in range(100)]
    issuer.lifetime_s = 1.0
    await log_in_anew(rig, server.url)
    await watched.fires("MegabotRelayTokenNotRenewed", "MegabotRelayRenewalFails")
    issuer.lifetime_s = 3600.0
    await log_in_anew(rig, server.url)
    await watched.fires("MegabotRelayRenewalFails")


@needs("prometheus")
async def test_a_token_that_nobody_can_renew_alarms_a_day_before_its_end(
    rig: Rig, watched: Watched
) -> None:
    issuer = Issuer(lifetime_s=86_000.0)
    server = await rig.upstream(talk, gate=issuer.gate)
    await watched.open_relay(rig, server.url, key=None, env={"MEGABOT_TOKEN": issuer.token()})
    await watched.fires("MegabotRelayTokenEndsForGood")


@needs("prometheus")
async def test_an_upstream_that_is_not_verified_alarms(
    rig: Rig, watched: Watched, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path, "127.0.0.1")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate.cert_file, certificate.key_file)
    server = await rig.upstream(echo, tls=tls)
    profile = {"url": server.url, "tls": {"insecure": True}}
    await watched.open_relay(rig, server.url, profiles={"default": profile})
    await watched.fires("MegabotRelayTlsUnverified")


@needs("prometheus")
async def test_a_certificate_that_nears_its_end_alarms_until_one_is_loaded_that_is_new(
    rig: Rig, watched: Watched, tmp_path: Path
) -> None:
    shown = make_aged_certificate(tmp_path, "127.0.0.1", age_days=80, left_days=10)
    server = await rig.upstream(echo)
    files = {"tls_cert_file": str(shown.cert_file), "tls_key_file": str(shown.key_file)}
    await watched.open_relay(rig, server.url, files)
    said = await watched.fires("MegabotRelayTlsCertificateEnds")
    assert re.search(r"ends in 9d 23h \d+m", said["MegabotRelayTlsCertificateEnds"])
    # It ends sooner than the other, and is as new as one can be that lives for two days.
    renewed = make_certificate(tmp_path, "127.0.0.1")
    shown.cert_file.write_bytes(renewed.cert_file.read_bytes())
    shown.key_file.write_bytes(renewed.key_file.read_bytes())
    reload = await asyncio.to_thread(rig.processes.run, "relay", "reload")
    assert reload.end() == 0, reload.errors
    await watched.is_well()


@needs("prometheus")
async def test_a_client_that_does_not_read_alarms_while_it_stays_and_when_it_is_closed(
    rig: Rig, watched: Watched
) -> None:
    flood = Flood(100, 100_000)
    server = await rig.upstream(flood)
    outbox = {"messages": 4000, "bytes": 20_000_000, "stall_s": 60.0}
    relay = {"mode": "shared", "heartbeat_s": 60.0, "outbox": outbox}
    await watched.open_relay(rig, server.url, relay)
    await watched.is_well()
    slow = await raw_client(rig.url)
    await rig.metric_reaches("clients_behind", 1)
    flood.a_second = 0
    said = await watched.fires("MegabotRelayClientsBehind")
    assert said["MegabotRelayClientsBehind"].startswith("1 clients")
    flood.a_second = 1000
    await watched.fires("MegabotRelaySlowConsumers")
    flood.running = False
    slow.close()


async def late_looks(rig: Rig) -> float:
    """How often the event loop was a quarter of a second late, or more."""
    bucket = "event_loop_lag_seconds_bucket"
    numbers = await rig.metrics()
    return numbers[f'{bucket}{{le="+Inf"}}'] - numbers[f'{bucket}{{le="0.25"}}']


@needs("prometheus")
async def test_an_event_loop_that_stands_still_alarms_also_after_five_good_minutes(
    rig: Rig, watched: Watched
) -> None:
    server = await rig.upstream(echo)
    await watched.open_relay(rig, server.url)
    await watched.is_well()
    before = await late_looks(rig)
    rig.relay.signal(signal.SIGSTOP)
    await asyncio.sleep(4.0)
    rig.relay.signal(signal.SIGCONT)
    await watched.fires(LAG)
    # A relay so young has looked a few times only; one that is older has 600 times in the five
    # minutes that the rule asks of.
    assert await late_looks(rig) - before > 0.01 * 5 * 60 / EVERY_S
