"""A thousand answers that our gateway streams at the same time, on one core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from tests.benchmarks.fan_out import rss_bytes
from tests.benchmarks.message_path import cpu_s, pin, process

STREAMS = 1000


def measure(chunk_delay_s: float, words: int) -> dict[str, Any]:
    cores = os.sched_getaffinity(0)
    pin(0, -1)
    try:
        with process("tests.benchmarks.our_gateway", str(chunk_delay_s)) as (pid, url):
            pin(pid, 0)
            before, grown = cpu_s(pid), rss_bytes(pid)
            readers = [sys.executable, "-m", "tests.benchmarks.stream_readers", url]
            readers += [str(STREAMS), str(words)]
            result: dict[str, Any] = json.loads(subprocess.check_output(readers, text=True))
            result["cpu_us"] = (cpu_s(pid) - before) / result["chunks"] * 1e6
            result["kib"] = (rss_bytes(pid) - grown) / STREAMS / 1024
            return result
    finally:
        os.sched_setaffinity(0, cores)


def report() -> None:
    print(f"\n{STREAMS} answers streamed at once by a gateway on one core")
    headings = ("chunks/s", "gap p50 ms", "gap p99 ms", "CPU us/chunk", "KiB/stream")
    print(" " * 40 + "".join(heading.rjust(14) for heading in headings))
    for title, delay_s, words in (
        ("a chunk each 200 ms", 0.2, 60),
        ("a chunk each 100 ms", 0.1, 100),
        ("as fast as it can", 0.0, 200),
    ):
        run = measure(delay_s, words)
        shown = (run["chunks"] / run["took_s"], run["p50_ms"], run["p99_ms"])
        figures = "".join(f"{figure:14.1f}" for figure in (*shown, run["cpu_us"], run["kib"]))
        print(f"{title:40}{figures}")
