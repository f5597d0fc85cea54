"""Random faults for a long time: no promise broken, and memory, descriptors and tasks flat.

    make soak                                      (half an hour)
    python -m tests.faults.soak --minutes 2 --seed 7

A gateway, a relay that records, and clients on ten sessions are real processes and sockets;
the wires between gateway and relay are cut, jammed, choked and pulled, both programs are
stopped and the gateway is killed, clients vanish and come back with their cursor. What is
printed each minute and at the end are figures of the relay's process. Exit code 1 when a
promise was broken or something grew.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.faults.network import Network
from tests.faults.rig import Rig, open_rig
from tests.faults.watcher import Ledger, Watcher
from tests.support.ports import kept_port
from tests.support.processes import Process, Processes

SESSIONS = 10
CLIENTS_OF_A_SESSION = 2
ASK_EACH_S = 1.0
FAULT_EACH_S = (1.0, 6.0)
GIVE_UP_S = 40.0  # for an answer, of whatever kind: what waits may wait 10 s here
GROWTH_BYTES = 24 * 1024 * 1024
DESCRIPTORS_OF_A_CLIENT = 2


class Sample:
    """What the relay's process holds at one moment."""

    def __init__(self, rig: Rig, numbers: dict[str, float]) -> None:
        self.memory = rig.memory_bytes()
        self.descriptors = len(list(Path(f"/proc/{rig.relay.pid}/fd").iterdir()))
        self.tasks = int(numbers["tasks"])


class Soak:
    """The clients, the faults and the figures of one run."""

    def __init__(self, rig: Rig, network: Network, gateway: GatewayProcess, seed: int) -> None:
        self.rig = rig
        self.network = network
        self.gateway = gateway
        self.chance = random.Random(seed)
        self.ledgers: list[Ledger] = []
        self.faults: Counter[str] = Counter()
        self.forgiven = 0
        self.returns = 0
        self.samples: list[Sample] = []
        self.stopping = asyncio.Event()

    # -- clients -----------------------------------------------------------------------------

    async def talk(self, session: str, name: str) -> None:
        """Ask now and then; vanish now and then; come back with the cursor."""
        ledger = Ledger()
        self.ledgers.append(ledger)
        client: Watcher | None = None
        while not self.stopping.is_set():
            if client is None or client.closed.is_set():
                client = await self._connected(ledger, session, name, client)
                if client is None:
                    continue
            with contextlib.suppress(ConnectionError):
                await client.ask("x" * self.chance.randrange(10, 2000))
            await asyncio.sleep(ASK_EACH_S * self.chance.uniform(0.5, 1.5))
            if self.chance.random() < 0.01:
                self._vanish(client)
                await client.closed.wait()  # it knows, also where this was its last deed
        assert client is not None
        if client.closed.is_set():
            self._forgive(ledger)
        with contextlib.suppress(AssertionError):
            await client.until(lambda: not ledger.open, GIVE_UP_S)
        await client.leave()

    async def _connected(
        self, ledger: Ledger, session: str, name: str, last: Watcher | None
    ) -> Watcher | None:
        if last is not None:
            await last.leave()
            self.returns += 1
            self._forgive(ledger)
            self.rig.watchers.remove(last)
        query = {"session_id": session, "client_id": name}
        if last is not None and last.cursor is not None:
            query["cursor"] = last.cursor
        try:
            return await self.rig.client(ledger, **query)
        except (OSError, AssertionError):
            await asyncio.sleep(0.5)
            return None

    def _forgive(self, ledger: Ledger) -> None:
        """Whoever vanishes is not told of what went wrong meanwhile, only answered."""
        for message in ledger.open:
            del ledger.outcomes[message]
            self.forgiven += 1

    @staticmethod
    def _vanish(client: Watcher) -> None:
        connection = client.socket._response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()

    # -- faults ------------------------------------------------------------------------------

    async def trouble(self) -> None:
        """One fault after the other, with pauses in which all may recover."""
        deeds: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("cut", self._cut),
            ("jammed", self._jammed),
            ("down", self._down),
            ("choked", self._choked),
            ("relay stopped", self._relay_stopped),
            ("gateway stopped", self._gateway_stopped),
            ("gateway killed", self._gateway_killed),
            ("reloaded", self._reloaded),
        ]
        while not self.stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), self.chance.uniform(*FAULT_EACH_S))
                return
            name, deed = self.chance.choice(deeds)
            self.faults[name] += 1
            await deed()

    async def _cut(self) -> None:
        self.network.cut()

    async def _jammed(self) -> None:
        self.network.jam()
        await asyncio.sleep(self.chance.uniform(0.2, 4))
        self.network.clear()

    async def _down(self) -> None:
        self.network.go_down()
        await asyncio.sleep(self.chance.uniform(0.2, 8))
        self.network.come_up()

    async def _choked(self) -> None:
        self.network.choke(20_000)
        await asyncio.sleep(self.chance.uniform(1, 4))
        self.network.choke(None)

    async def _relay_stopped(self) -> None:
        self.rig.relay.signal(signal.SIGSTOP)
        await asyncio.sleep(self.chance.uniform(0.1, 3))
        self.rig.relay.signal(signal.SIGCONT)

    async def _gateway_stopped(self) -> None:
        self.gateway.process.signal(signal.SIGSTOP)
        await asyncio.sleep(self.chance.uniform(0.1, 3))
        self.gateway.process.signal(signal.SIGCONT)

    async def _gateway_killed(self) -> None:
        self.gateway.process.kill()
        await asyncio.sleep(self.chance.uniform(0, 2))
        await self.gateway.start()

    async def _reloaded(self) -> None:
        self.rig.relay.signal(signal.SIGHUP)

    # -- figures -----------------------------------------------------------------------------

    async def sample(self) -> Sample:
        sample = Sample(self.rig, await self.rig.metrics())
        self.samples.append(sample)
        return sample

    def outcomes(self) -> Counter[str]:
        return sum((ledger.counted() for ledger in self.ledgers), Counter())

    def unanswered(self) -> int:
        return sum(len(ledger.open) for ledger in self.ledgers)

    def report(self, seconds: float, numbers: dict[str, float]) -> dict[str, Any]:
        half = self.samples[len(self.samples) // 2 :] or self.samples
        early = self.samples[1 : len(self.samples) // 2] or self.samples[:1]
        mib = 1024 * 1024

        def middle(samples: list[Sample], what: str) -> float:
            return float(statistics.median(getattr(sample, what) for sample in samples))

        return {
            "seconds": round(seconds),
            "faults": dict(self.faults),
            "ended": dict(self.outcomes()),
            "never_ended": self.unanswered(),
            "answered_after_unknown": sum(ledger.late for ledger in self.ledgers),
            "clients_back": self.returns,
            "messages": {
                way: int(numbers[f'messages_total{{direction="{way}"}}'])
                for way in ("to_upstream", "to_client")
            },
            "reconnects": int(numbers["reconnects_total"]),
            "memory_MiB": [round(middle(each, "memory") / mib, 1) for each in (early, half)],
            "memory_most_MiB": round(max(each.memory for each in self.samples) / mib, 1),
            "descriptors": [middle(each, "descriptors") for each in (early, half)],
            "tasks": [middle(each, "tasks") for each in (early, half)],
        }


class GatewayProcess:
    """A gateway that can be killed and comes back on its port with what it knew."""

    def __init__(self, processes: Processes, folder: Path, port: int) -> None:
        self._processes = processes
        self._folder = folder
        self._listen = f"127.0.0.1:{port}"
        self.process: Process
        self.url = ""

    async def start(self) -> None:
        first = not self.url
        configuration = self._folder / "gateway.yaml"
        configuration.write_text("limits: {messages_per_second: 0}\n")
        user = ("--username", "ada", "--password-stdin") if first else ()
        self.process = self._processes.megabot(
            *("gateway", "--config", str(configuration), "--listen", self._listen),
            *("--data", str(self._folder / "gateway"), *user),
            *("--latency", "0", "--chunk-delay", "20ms"),
            typed="a-password" if first else "",
        )
        self.url = (await asyncio.to_thread(self.process.ready))["url"]


async def soak(
    processes: Processes,
    folder: Path,
    *,
    seconds: float,
    seed: int,
    faults: int = 0,
    each_minute: Callable[[Sample, Soak], None] = lambda sample, soak: None,
) -> dict[str, Any]:
    """Run it; the figures. Raises `Broken` or `AssertionError` for what did not hold.

    It goes on until there were `faults`, too: each takes longer on a machine that has much to do.
    """
    async with AsyncExitStack() as stack:
        gateway = GatewayProcess(processes, folder, stack.enter_context(kept_port()))
        await gateway.start()
        rig = await stack.enter_async_context(open_rig(processes, folder))
        network = await rig.network(gateway.url)
        await rig.log_in(network.url())
        await rig.open_relay(
            network.url(), key=None, record=True, relay={"heartbeat_s": 2.0, "wait_s": 10.0}
        )
        run = Soak(rig, network, gateway, seed)
        sessions = [f"sess_soak_{number}" for number in range(SESSIONS)]
        talking = [
            asyncio.ensure_future(run.talk(session, f"{session}.{number}"))
            for session in sessions
            for number in range(CLIENTS_OF_A_SESSION)
        ]
        trouble = asyncio.ensure_future(run.trouble())
        working = [*talking, trouble]
        began, sampling_s = time.monotonic(), min(60.0, seconds / 6)
        while (left_s := began + seconds - time.monotonic()) > 0 or run.faults.total() < faults:
            await asyncio.wait(
                working,
                timeout=min(sampling_s, max(left_s, 0.5)),
                return_when=asyncio.FIRST_EXCEPTION,
            )
            if any(task.done() for task in working):
                await _end(working)
            each_minute(await run.sample(), run)
        run.stopping.set()
        await trouble
        await asyncio.gather(*talking)
        report = run.report(time.monotonic() - began, await rig.metrics())
        left = {name for ledger in run.ledgers for name in ledger.open}
    assert not left, (left, report)
    grown = run.samples[-1].memory - run.samples[0].memory
    assert grown < GROWTH_BYTES, report
    most = SESSIONS * (1 + CLIENTS_OF_A_SESSION) * DESCRIPTORS_OF_A_CLIENT
    assert run.samples[-1].descriptors <= run.samples[0].descriptors + most, report
    return report


async def _end(working: list[asyncio.Task[None]]) -> None:
    """Something broke a promise: stop all, and say what it was."""
    broken = [task for task in working if task.done()]
    for task in working:
        task.cancel()
    await asyncio.wait(working)
    for task in broken:
        task.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.faults.soak")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    options = parser.parse_args()
    print(f"soak: {options.minutes:g} min, --seed {options.seed}", flush=True)
    began = time.monotonic()

    def tell(sample: Sample, run: Soak) -> None:
        print(
            f"{(time.monotonic() - began) / 60:5.1f} min  {sample.memory / 1048576:6.1f} MiB  "
            f"{sample.descriptors:3} descriptors  {sample.tasks:3} tasks  "
            f"{run.faults.total():4} faults  ended {dict(run.outcomes())}",
            flush=True,
        )

    with tempfile.TemporaryDirectory(prefix="megabot-soak-") as place:
        folder = Path(place)
        home = folder / "home"
        home.mkdir(mode=0o700)
        with quietly(home) as processes:
            report = asyncio.run(
                soak(
                    processes,
                    folder,
                    seconds=options.minutes * 60,
                    seed=options.seed,
                    each_minute=tell,
                )
            )
    print(json.dumps(report, indent=1))


@contextlib.contextmanager
def quietly(home: Path) -> Iterator[Processes]:
    """Processes whose output is shown only when the run fails."""
    processes = Processes(home)
    try:
        yield processes
    except BaseException:
        processes.end()
        raise
    for process in reversed(processes.running):
        process.end()


if __name__ == "__main__":
    main()
