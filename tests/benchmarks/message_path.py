"""CPU per round trip of the relay, against the same relaying written naively with aiohttp."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks import peers
from tests.benchmarks.quieter import quieter

CLIENTS, IN_FLIGHT, SIZE = 100, 4, 250
_ALL_CORES = os.sched_getaffinity(0)
TICKS_PER_S = 100  # of /proc/PID/stat; the kernel's USER_HZ

NAIVE = "naive aiohttp + uvloop"
OURS = "tests.benchmarks.our_relay"
WAYS: dict[str, list[str]] = {
    NAIVE: ["tests.benchmarks.naive_relay"],
    "megabot dedicated": [OURS, "dedicated", "off"],
    "megabot dedicated, warn, recording": [OURS, "dedicated", "warn", "--record"],
    "megabot session": [OURS, "session", "off"],
    "megabot session, warn": [OURS, "session", "warn"],
    "megabot session, warn, recording": [OURS, "session", "warn", "--record"],
    "megabot shared": [OURS, "shared", "off"],
    "megabot shared, recording": [OURS, "shared", "off", "--record"],
    "megabot shared, recording in a thread": [OURS, "shared", "off", "--record", "--thread"],
}
PEERS = {"nginx": "nginx, looks at nothing", "websocat": "websocat", "mitmdump": "mitmdump -w"}


@contextmanager
def process(module: str, *arguments: str) -> Iterator[tuple[int, str]]:
    """Start a benchmark process; gives its pid and the URL of its ready line."""
    command = [sys.executable, "-m", module, *arguments]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        yield running.pid, json.loads(running.stdout.readline())["url"]
    finally:
        running.terminate()
        running.wait()
        if running.stdout is not None:
            running.stdout.close()


def cpu_s(pid: int) -> float:
    """User and system time of a process so far, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def loop_s(pid: int) -> float:
    """The same of its main thread alone, on which the event loop runs."""
    stat = Path(f"/proc/{pid}/task/{pid}/stat").read_text(encoding="ascii")
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def children(pid: int) -> list[int]:
    """The processes that a process has started: our recorder's."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(each) for task in tasks for each in (task / "children").read_text().split()]


def pin(pid: int, core: int) -> None:
    """Give a process a core of its own, where the machine has two: all of its threads.

    A thread left on the other core would hold the interpreter's lock while it waits for the
    load's programs to give that core up.
    """
    cores = sorted(_ALL_CORES)
    if len(cores) > 1:
        for task in Path(f"/proc/{pid or os.getpid()}/task").iterdir():
            os.sched_setaffinity(int(task.name), {cores[core]})


class Load:
    """A process of the load whose clients are all there: what it measures begins now."""

    def __init__(self, running: subprocess.Popen[str]) -> None:
        assert running.stdout is not None
        self._out = running.stdout
        self._out.readline()

    def result(self) -> dict[str, Any]:
        """What it came to, once it is over."""
        result: dict[str, Any] = json.loads(self._out.readline())
        return result


@contextmanager
def under_load(url: str, *figures: float) -> Iterator[Load]:
    """Clients, in flight, bytes, seconds and messages a second, as `load` takes them."""
    command = [sys.executable, "-m", "tests.benchmarks.load", url, *map(str, figures)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        yield Load(running)


def measure(relay: AbstractContextManager[tuple[int, str]], seconds: float) -> dict[str, Any]:
    with relay as (pid, url):
        pin(pid, 0)
        for child in children(pid):
            pin(child, -1)
        with under_load(url, CLIENTS, IN_FLIGHT, SIZE, seconds) as load:
            before, loop_before = cpu_s(pid), loop_s(pid)
            helpers_before = sum(cpu_s(child) for child in children(pid))
            result: dict[str, Any] = load.result()
        result["cpu_us"] = (cpu_s(pid) - before) / result["round_trips"] * 1e6
        result["loop_us"] = (loop_s(pid) - loop_before) / result["round_trips"] * 1e6
        helpers = sum(cpu_s(child) for child in children(pid)) - helpers_before
        result["helper_us"] = helpers / result["round_trips"] * 1e6
        return result


def relays(upstream_url: str) -> Iterator[tuple[str, AbstractContextManager[tuple[int, str]]]]:
    """Every relay there is to measure, not started yet."""
    for name, (module, *arguments) in WAYS.items():
        yield name, process(module, upstream_url, *arguments)
    for name, title in PEERS.items():
        if (program := peers.find(name)) is not None:
            yield title, peers.running(name, program, upstream_url)


def report(seconds: float, rounds: int) -> None:
    """Measure every way in turn, `rounds` times; print what the quieter took, with its ratios."""
    print(f"\nMessage path: {CLIENTS} clients x {IN_FLIGHT} in flight, {SIZE} bytes, echo upstream")
    results: dict[str, list[dict[str, Any]]] = {}
    # A relay has a core to itself; load, upstream and recorder share the other.
    cores = os.sched_getaffinity(0)
    pin(0, -1)
    with process("tests.benchmarks.upstream") as (_, upstream_url):
        for _ in range(rounds):
            for name, relay in relays(upstream_url):
                results.setdefault(name, []).append(measure(relay, seconds))
    os.sched_setaffinity(0, cores)
    base = quieter(result["cpu_us"] for result in results[NAIVE])
    headings = ("CPU us", "ratio", "loop us", "trips/s", "p50 ms", "p99 ms", "recorder us")
    print(" " * 40 + "".join(heading.rjust(12) for heading in headings))
    for name, runs in results.items():
        took = {key: quieter(run[key] for run in runs) for key in runs[0]}
        rate = -quieter(-run["round_trips"] for run in runs) / seconds
        cpu_us, loop_us = took["cpu_us"], took["loop_us"]
        shown = (f"{cpu_us:.1f}", f"{cpu_us / base:.2f}", f"{loop_us:.1f}", f"{rate:.0f}")
        waits = (f"{took['p50_ms']:.1f}", f"{took['p99_ms']:.1f}", f"{took['helper_us']:.1f}")
        print(f"{name:40}" + "".join(figure.rjust(12) for figure in (*shown, *waits)))
    for name in PEERS:
        if peers.find(name) is None:
            print(f"not found, not measured: {name}")
