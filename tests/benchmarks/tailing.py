"""How many lines a second `tail` renders, to a pipe and to a terminal, and in what memory."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.benchmarks.peak import Measured
from tests.benchmarks.replaying import write

_OURS = (sys.executable, "-m", "megabot_cli", "tail")


def _to_a_pipe(path: Path, *more: str) -> tuple[float, float]:
    """Seconds until all was read, and the most memory it took, in MiB."""
    began = time.perf_counter()
    running = Measured([*_OURS, str(path), *more], stdout=subprocess.PIPE)
    while running.stdout.read(1 << 20):
        continue
    peak_mib = running.peak_mib()
    return time.perf_counter() - began, peak_mib


def _to_a_terminal(path: Path) -> float:
    ours, theirs = pty.openpty()
    seen = 0

    def read() -> None:
        nonlocal seen
        try:
            while piece := os.read(ours, 1 << 16):
                seen += len(piece)
        except OSError:
            return  # the other end is closed

    reader = threading.Thread(target=read)
    reader.start()
    began = time.perf_counter()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    subprocess.run(
        [*_OURS, str(path)], stdin=theirs, stdout=theirs, env=environment, check=True,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    took = time.perf_counter() - began
    os.close(theirs)
    reader.join()
    os.close(ours)
    return took


def report(messages: int = 500_000) -> None:
    """Start-up is taken off: it is measured with one line."""
    with tempfile.TemporaryDirectory() as folder:
        path, half, one = (Path(folder) / name for name in ("all.jsonl", "half.jsonl", "one.jsonl"))
        for file, pairs in ((path, messages // 2), (half, messages // 4), (one, 1)):
            write(file, pairs, 1000, 4)
        start_s, _ = min(_to_a_pipe(one) for _ in range(3))
        print(f"\n{'tail: lines a second':30}{'1/s':>10}{'MiB':>8}")
        for name, more in (("to a pipe", ()), ("to a pipe, --json", ("--json",))):
            took, most = min(_to_a_pipe(path, *more) for _ in range(3))
            print(f"{name:30}{messages / (took - start_s):10.0f}{most:8.0f}")
        took = min(_to_a_terminal(path) for _ in range(3))
        print(f"{'to a terminal of 120 columns':30}{messages / (took - start_s):10.0f}")
        _, less = _to_a_pipe(half)
        _, most = _to_a_pipe(path)
        print(f"memory, twice as many lines: {most / less:.2f} ×")


if __name__ == "__main__":
    report()
