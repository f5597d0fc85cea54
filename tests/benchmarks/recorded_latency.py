"""What recording does to the slowest round trips of many clients at a steady rate."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any

from tests.benchmarks.message_path import (
    CLIENTS,
    OURS,
    SIZE,
    children,
    pin,
    process,
    under_load,
)
from tests.benchmarks.quieter import quieter

_OFF, _AGAIN, _ON = "recording off", "recording off, once more", "recording on"
# One process is up to a third slower than another that is its copy, for as long as it lives, and
# one moment of something else is the slowest hundredth of all that was measured in it. So the
# relays are often started anew and take turns, the runs are short, and of two relays that do not
# record, which are the measure together, each shows how far two of one kind are apart.
_WAYS: dict[str, list[str]] = {_OFF: [], _AGAIN: [], _ON: ["--record"]}
_TURNS = 6  # of each way between two starts


def report(rounds: int = 6, seconds: float = 0.4, rate: int = 4000) -> None:
    print(f"\n{CLIENTS} clients, {rate} messages a second: what recording does to a round trip")
    print("the lower quartile of many short runs")
    print(" " * 44 + "p50 ms".rjust(10) + "p99 ms".rjust(10) + "of off".rjust(10))
    cores = os.sched_getaffinity(0)
    pin(0, -1)
    for mode in ("session", "shared"):
        taken: dict[str, list[dict[str, Any]]] = {name: [] for name in _WAYS}
        for number in range(rounds):
            _measure(mode, taken, seconds, rate, first=number)
        off = quieter(run["p99_ms"] for run in (*taken[_OFF], *taken[_AGAIN]))
        for name, runs in taken.items():
            p50, p99 = (quieter(run[key] for run in runs) for key in ("p50_ms", "p99_ms"))
            print(f"{f'megabot {mode}, {name}':44}{p50:10.3f}{p99:10.3f}{p99 / off:10.2f}")
    os.sched_setaffinity(0, cores)


def _measure(
    mode: str, taken: dict[str, list[dict[str, Any]]], seconds: float, rate: int, *, first: int
) -> None:
    """A relay of each way, in turn: which is started, and measured, first changes."""
    names = [*_WAYS][first % len(_WAYS) :] + [*_WAYS][: first % len(_WAYS)]
    with ExitStack() as stack:
        _, upstream = stack.enter_context(process("tests.benchmarks.upstream"))
        urls = {}
        for name in names:
            relay = process(OURS, upstream, mode, "warn", *_WAYS[name])
            pid, urls[name] = stack.enter_context(relay)
            # All of the relay has one core: beside the load its recorder would hold up that,
            # and the upstream.
            for each in (pid, *children(pid)):
                pin(each, 0)
        for turn in range(_TURNS):
            for name in names if turn % 2 == 0 else reversed(names):
                with under_load(urls[name], CLIENTS, 1, SIZE, seconds, rate) as load:
                    taken[name].append(load.result())


if __name__ == "__main__":
    report()
