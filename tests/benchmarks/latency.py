"""What a relay adds to one round trip of one client, and how soon it is ready."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from typing import Any

from tests.benchmarks.message_path import (
    NAIVE,
    OURS,
    WAYS,
    pin,
    process,
    under_load,
)
from tests.benchmarks.quieter import quieter


def round_trips(url: str, seconds: float) -> dict[str, Any]:
    with under_load(url, 1, 1, 250, seconds) as load:
        return load.result()


def report_added(rounds: int, seconds: float = 0.8) -> None:
    """One client, one message at a time: what is above the direct way is the relay's."""
    ways = {
        "no relay": None,
        NAIVE: WAYS[NAIVE],
        "megabot dedicated": [OURS, "dedicated", "off"],
        "megabot session": [OURS, "session", "off"],
    }
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    # Who shares a core with whom decides more than the relay does: it has one to itself.
    cores = os.sched_getaffinity(0)
    pin(0, -1)
    with process("tests.benchmarks.upstream") as (_, upstream):
        for _ in range(5 * rounds):
            for name, way in ways.items():
                relay = process(way[0], upstream, *way[1:]) if way else nullcontext((0, upstream))
                with relay as (pid, url):
                    if way:
                        pin(pid, 0)
                    taken[name].append(round_trips(url, seconds))
    os.sched_setaffinity(0, cores)
    print("\nOne client, one message at a time: what the relay adds to a round trip")
    print(" " * 40 + "p50 ms".rjust(12) + "p99 ms".rjust(12))
    direct = {key: quiet(taken["no relay"], key) for key in ("p50_ms", "p99_ms")}
    for name, runs in taken.items():
        shown = [
            quiet(runs, key) - (direct[key] if runs is not taken["no relay"] else 0)
            for key in direct
        ]
        print(f"{name:40}" + "".join(f"{figure:12.3f}" for figure in shown))


def quiet(runs: list[dict[str, Any]], key: str) -> float:
    return quieter(run[key] for run in runs)


def report_start(rounds: int) -> None:
    """From the start of the process to its ready line, after an authenticated round trip."""
    taken = []
    with process("tests.benchmarks.upstream") as (_, upstream):
        for _ in range(2 * rounds + 1):
            with tempfile.TemporaryDirectory() as home:
                env = {**os.environ, "MEGABOT_HOME": home, "MEGABOT_API_KEY": "bench"}
                command = [sys.executable, "-m", "megabot_cli", "relay", "--upstream", upstream]
                command += ["--listen", ":0", "--admin-listen", ":0"]
                started_at = time.perf_counter()
                relay = subprocess.Popen(
                    command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                )
                assert relay.stdout is not None
                relay.stdout.readline()
                taken.append(time.perf_counter() - started_at)
                relay.terminate()
                relay.wait()
                relay.stdout.close()
    print(f"\nRelay, start to ready: {statistics.median(taken):.2f} s")


def report(rounds: int = 2) -> None:
    report_added(rounds)
    report_start(rounds)
