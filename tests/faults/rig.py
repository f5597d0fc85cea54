"""A relay as a process of its own, what it is connected to, and what is checked at the end.

After each test the relay is asked how it is: every message of a client that stayed has ended,
every client gone, no task more than its links need, memory under the cap, nothing in its log that
nobody expected.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.faults.network import Network
from tests.faults.watcher import Ledger, Watcher, watch
from tests.support.processes import Process, Processes
from tests.support.upstream import ScriptedUpstream

RELAY = "megabot_relay_"
CAP_BYTES = 256 * 1024 * 1024
FAULTS_OF_OURS = ("Traceback", "never retrieved", "never awaited", "Unhandled exception")
TASKS_OF_A_LINK = 3

# Quick enough for tests; each is a setting that an operator may set.
QUICK: dict[str, Any] = {
    "listen": "127.0.0.1:0",
    "admin_listen": "127.0.0.1:0",
    "heartbeat_s": 2.0,
    "drain_s": 3.0,
}


class Rig:
    """One test's relay and the clients it has."""

    def __init__(self, processes: Processes, folder: Path, stack: AsyncExitStack) -> None:
        self.processes = processes
        self.folder = folder
        self.stack = stack
        self.http: aiohttp.ClientSession
        self.relay: Process
        self.ready: dict[str, Any] = {}
        self.watchers: list[Watcher] = []
        self.checked = True  # False where a test leaves the relay in no state to be asked
        self._tasks_at_first = 0.0
        self._configurations = 0

    # -- what there is -----------------------------------------------------------------------

    @property
    def url(self) -> str:
        return str(self.ready["url"])

    @property
    def admin(self) -> str:
        return str(self.ready["admin_url"])

    async def open_relay(
        self,
        upstream: str,
        *arguments: str,
        relay: dict[str, Any] | None = None,
        env: dict[str, str] | None = None,
        key: str | None = "a-key",
        record: bool = False,
        **sections: dict[str, Any],
    ) -> Process:
        """Start it. `relay` and `sections` are settings; `key=None`: as the profile logged in."""
        self._configurations += 1
        path = self.folder / f"config-{self._configurations}.yaml"
        settings = {
            "profiles": {"default": {"url": upstream}},
            "limits": {"messages_per_second": 0},
            "recording": {"enabled": record},
            **sections,
            "relay": {**QUICK, **(relay or {})},
        }
        path.write_text(yaml.safe_dump(settings))
        environment = dict(env or {})
        if key is not None:
            environment["MEGABOT_API_KEY"] = key
        self.relay = self.processes.megabot(
            "relay", "--config", str(path), *arguments, env=environment
        )
        self.ready = await asyncio.to_thread(self.relay.ready)
        self._tasks_at_first = await self.metric("tasks")
        return self.relay

    async def open_gateway(self, *arguments: str, env: dict[str, str] | None = None) -> str:
        """A gateway without accounts of its own but ada; its URL. The key is `self.key`."""
        gateway = self.processes.megabot(
            *("gateway", "--listen", "127.0.0.1:0", "--latency", "0", "--chunk-delay", "0"),
            *("--rate-limit", "0", "--username", "ada", "--password-stdin", *arguments),
            typed="a-password",
            env=env,
        )
        return str((await asyncio.to_thread(gateway.ready))["url"])

    async def log_in(self, url: str) -> None:
        """Have the profile a token, as `megabot login` gets it."""
        login = await asyncio.to_thread(
            self.processes.run,
            *("login", "--url", url, "--username", "ada", "--password-stdin"),
            *("--storage", "file"),
            typed="a-password",
        )
        assert login.end() == 0, login.errors

    async def network(self, url: str) -> Network:
        """Wires to where `url` points."""
        port = int(url.rpartition(":")[2].partition("/")[0])
        return self.stack.enter_context(Network(port))

    async def upstream(self, *arguments: Any, **options: Any) -> ScriptedUpstream:
        return await self.stack.enter_async_context(ScriptedUpstream(*arguments, **options))

    async def client(self, ledger: Ledger | None = None, **query: str) -> Watcher:
        """A client, greeted."""
        watcher = await watch(self.http, self.url, ledger, **query)
        self.watchers.append(watcher)
        await watcher.until(lambda: watcher.of_type("connection_established"))
        return watcher

    # -- what it says ------------------------------------------------------------------------

    async def metrics(self) -> dict[str, float]:
        """Every sample: `name` or `name{label="value"}`, without the common prefix."""
        async with self.http.get(f"{self.admin}/metrics") as answer:
            text = await answer.text()
        samples: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(f'{k}="{v}"' for k, v in sample.labels.items())
                name = sample.name.removeprefix(RELAY) + (f"{{{labels}}}" if labels else "")
                samples[name] = sample.value
        return samples

    async def metric(self, name: str) -> float:
        return (await self.metrics()).get(name, 0.0)

    async def metric_reaches(self, name: str, least: float, limit_s: float = 15.0) -> None:
        async with asyncio.timeout(limit_s):
            while await self.metric(name) < least:  # noqa: ASYNC110  another process's state
                await asyncio.sleep(0.05)

    async def logged(self, part: str, limit_s: float = 15.0) -> str:
        return await asyncio.to_thread(self.relay.wait_for_line, part, limit_s)

    def memory_bytes(self) -> int:
        """What the relay holds of the machine's memory."""
        pages = int(Path(f"/proc/{self.relay.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def command_line(self) -> str:
        """What `ps` shows of it to everybody."""
        return Path(f"/proc/{self.relay.pid}/cmdline").read_text()

    async def ends(self, limit_s: float = 15.0) -> int:
        """Wait until the relay ends by itself; its exit code."""
        return await asyncio.to_thread(self.relay.wait, limit_s)

    # -- at the end --------------------------------------------------------------------------

    async def check(self) -> None:
        """All that holds whatever the fault was."""
        for watcher in self.watchers:
            if self.relay.alive and self.checked and not watcher.closed.is_set():
                await watcher.settled()
            await watcher.leave()
        if not self.ready:
            return
        said = [line for line in self.relay.error_lines if any(w in line for w in FAULTS_OF_OURS)]
        assert not said, said
        if not self.relay.alive or not self.checked:
            return
        self.relay.signal(signal.SIGCONT)
        numbers = await self._at_rest()
        assert numbers["clients"] == 0
        assert numbers["tasks"] <= self._tasks_allowed(numbers), numbers["tasks"]
        assert self.memory_bytes() < CAP_BYTES

    def _tasks_allowed(self, numbers: dict[str, float]) -> float:
        links = sum(value for name, value in numbers.items() if name.startswith("links{"))
        return self._tasks_at_first + links * TASKS_OF_A_LINK

    async def _at_rest(self) -> dict[str, float]:
        """What it says when nothing moves any more, or after ten seconds."""
        for _ in range(200):
            numbers = await self.metrics()
            if not numbers["clients"] and numbers["tasks"] <= self._tasks_allowed(numbers):
                break
            await asyncio.sleep(0.05)
        return numbers


@asynccontextmanager
async def open_rig(processes: Processes, folder: Path) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        rig = Rig(processes, folder, stack)
        connector = aiohttp.TCPConnector(limit=0)
        rig.http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        yield rig
        await rig.check()
