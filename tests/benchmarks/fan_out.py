"""One stream to many clients: what a delivery costs, what an idle client weighs, and what the
others feel of one that stops reading."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.message_path import OURS, cpu_s, pin, process
from tests.benchmarks.quieter import quieter

CLIENTS = 1000
IDLE_CLIENTS = 10_000
NAIVE = "tests.benchmarks.naive_fan_out"
UPSTREAM = "tests.benchmarks.streaming_upstream"


class Crowd:
    """Listeners in a process of their own."""

    def __init__(
        self, url: str, clients: int, question: str = "0 1 0", *, timed: int = 0, stopped: int = 0
    ) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.listeners", f"{url}?session_id=bench"]
        command += [str(clients), question, str(timed), str(stopped)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        result: dict[str, Any] = json.loads(self._process.stdout.readline())
        return result

    def listen(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._read()

    def leave(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def crowd(*arguments: Any, **more: Any) -> Iterator[Crowd]:
    gathered = Crowd(*arguments, **more)
    try:
        yield gathered
    finally:
        gathered.leave()


def rss_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def delivery_us(relay: list[str], question: str) -> float:
    """CPU of the relay for each message that reaches a client."""
    with (
        process(UPSTREAM) as (_, upstream),
        process(*relay[:1], upstream, *relay[1:]) as (pid, url),
    ):
        pin(pid, 0)
        with crowd(url, CLIENTS, question) as listeners:
            before = cpu_s(pid)
            received = listeners.listen()["received"]
            return (cpu_s(pid) - before) / float(received) * 1e6


def report_deliveries(rounds: int) -> None:
    ways = {
        "for ws in clients: await ws.send_str": [NAIVE],
        "megabot": [OURS, "session", "off"],
        "the kernel's part: one send() each": [NAIVE, "bare"],
    }
    print(f"\nFan-out of one stream to {CLIENTS} clients, 250 bytes: CPU of a delivery")
    print(" " * 40 + "us".rjust(12) + "ratio".rjust(12))
    for together, question in ((1, "300 1 0.02"), (5, "300 5 0.05")):
        taken: dict[str, list[float]] = {}
        for _ in range(3 * rounds):  # the load's wakening differs from run to run
            for name, relay in ways.items():
                taken.setdefault(name, []).append(delivery_us(relay, question))
        base = quieter(next(iter(taken.values())))
        for name, figures in taken.items():
            us = quieter(figures)
            title = f"{name}, {together} at once" if together > 1 else name
            print(f"{title:40}{us:12.2f}{us / base:12.2f}")


def report_idle() -> None:
    with (
        process(UPSTREAM) as (_, upstream),
        process(OURS, upstream, "session", "off") as (pid, url),
    ):
        before = rss_bytes(pid)
        with crowd(url, IDLE_CLIENTS):
            each = (rss_bytes(pid) - before) / IDLE_CLIENTS
    print(f"\nMemory of an idle client, {IDLE_CLIENTS} of them: {each / 1024:.1f} KiB")


def report_slow_client(rounds: int) -> None:
    """500 messages a second to 50 clients, one of which stops reading."""
    question = "2500 1 0.002"
    print("\nA client that stops reading, 49 others at 500 messages/s (large messages do the same)")
    print(" " * 40 + "p50 ms".rjust(12) + "p99 ms".rjust(12) + "MiB more".rjust(12))
    for title, stopped in (("all read", 0), ("one stops", 1)):
        runs = []
        for _ in range(rounds):
            with (
                process(UPSTREAM) as (_, upstream),
                process(OURS, upstream, "session", "off") as (pid, url),
                crowd(url, 50, question, timed=49, stopped=stopped) as listeners,
            ):
                pin(pid, 0)
                before = rss_bytes(pid)
                result = listeners.listen()
                result["grown"] = (rss_bytes(pid) - before) / 2**20
                runs.append(result)
        shown = [
            statistics.median(run[key] for run in runs) for key in ("p50_ms", "p99_ms", "grown")
        ]
        print(f"{title:40}" + "".join(f"{figure:12.2f}" for figure in shown))


def report(rounds: int = 3) -> None:
    report_deliveries(rounds)
    report_idle()
    report_slow_client(rounds)
