"""CPU per round trip of the relay, against the same relaying written naively with aiohttp."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CLIENTS, IN_FLIGHT, SIZE = 100, 4, 250
TICKS_PER_S = 100  # of /proc/PID/stat; the kernel's USER_HZ

NAIVE = "naive aiohttp + uvloop"
WAYS: dict[str, list[str]] = {
    NAIVE: ["tests.benchmarks.naive_relay"],
    "megabot, no recording, no validation": ["tests.benchmarks.our_relay", "off"],
    "megabot, validation warn": ["tests.benchmarks.our_relay", "warn"],
    "megabot, validation warn, recording": ["tests.benchmarks.our_relay", "warn", "--record"],
}


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


def measure(arguments: list[str], upstream_url: str, seconds: float) -> dict[str, Any]:
    with process(arguments[0], upstream_url, *arguments[1:]) as (pid, url):
        before = cpu_s(pid)
        load = [sys.executable, "-m", "tests.benchmarks.load", url]
        load += [str(CLIENTS), str(IN_FLIGHT), str(SIZE), str(seconds)]
        result: dict[str, Any] = json.loads(subprocess.check_output(load, text=True))
        result["cpu_us"] = (cpu_s(pid) - before) / result["round_trips"] * 1e6
        return result


def report(seconds: float, rounds: int) -> None:
    """Measure every way in turn, `rounds` times, and print medians with their ratios."""
    print(f"\nMessage path: {CLIENTS} clients x {IN_FLIGHT} in flight, {SIZE} bytes, echo upstream")
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in WAYS}
    with process("tests.benchmarks.upstream") as (_, upstream_url):
        for _ in range(rounds):
            for name, arguments in WAYS.items():
                results[name].append(measure(arguments, upstream_url, seconds))
    base = statistics.median(result["cpu_us"] for result in results[NAIVE])
    print(f"{'':40}{'CPU us':>8}{'ratio':>8}{'trips/s':>10}{'p50 ms':>8}{'p99 ms':>8}")
    for name, runs in results.items():
        median = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        rate = median["round_trips"] / (seconds + 1.0)
        print(
            f"{name:40}{median['cpu_us']:8.1f}{median['cpu_us'] / base:8.2f}"
            f"{rate:10.0f}{median['p50_ms']:8.1f}{median['p99_ms']:8.1f}"
        )
