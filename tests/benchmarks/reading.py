"""Reading a recorded conversation back: ours, and `mitmdump -nr` of the same messages."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.message_path import process, under_load
from tests.benchmarks.peers import find, free_port
from tests.benchmarks.replaying import write

_SECONDS = 4.0


def _seconds(command: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(
        command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - began


def _recorded_by(mitmdump: str, flows: Path) -> int:
    """Have it write down what some clients say; return how many messages passed."""
    port = free_port()
    with process("tests.benchmarks.upstream") as (_, url):
        origin = url.replace("ws://", "http://").removesuffix("/ws")
        command = [mitmdump, "-q", "--mode", f"reverse:{origin}", "-p", str(port)]
        command += ["--listen-host", "127.0.0.1", "--set", f"confdir={flows.parent}"]
        with subprocess.Popen([*command, "-w", str(flows)], stdout=subprocess.DEVNULL) as running:
            time.sleep(4)
            with under_load(f"ws://127.0.0.1:{port}/ws", 10, 4, 250, _SECONDS) as load:
                said = load.result()
            time.sleep(1)
            running.terminate()
    return 2 * int(said["round_trips"])


def report() -> None:
    mitmdump = find("mitmdump")
    if mitmdump is None:
        print("\nnot found, not measured: mitmdump -nr")
        return
    with tempfile.TemporaryDirectory() as folder:
        flows, ours = Path(folder) / "flows", Path(folder) / "ours.jsonl"
        messages = _recorded_by(mitmdump, flows)
        write(ours, messages // 2, 1000, 10)
        theirs_s = _seconds([mitmdump, "-q", "-n", "-r", str(flows)])
        theirs_s -= _seconds([mitmdump, "-q", "-n", "-r", "/dev/null"])
        megabot = [sys.executable, "-m", "megabot_cli", "recordings"]
        print(f"\nReading {messages} messages back, start-up taken off: us a message")
        print(f"  mitmdump -nr      {theirs_s / messages * 1e6:8.1f}")
        for name in ("stats", "show"):
            start_s = _seconds([*megabot, name, "--help"])
            ours_s = _seconds([*megabot, name, str(ours)]) - start_s
            ratio = ours_s / theirs_s
            print(f"  recordings {name:7}{ours_s / messages * 1e6:8.1f}  {ratio:.2f} ×")


if __name__ == "__main__":
    report()
