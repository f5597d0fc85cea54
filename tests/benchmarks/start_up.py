"""How long a command takes from start to exit, against `python -c pass`."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from tests.benchmarks.peers import find

RUNS = 11
GATEWAY = (
    *("gateway", "--listen", "127.0.0.1:0", "--latency", "0", "--chunk-delay", "0"),
    *("--username", "bench", "--password-stdin"),
)


def wall_s(command: Sequence[str], env: dict[str, str]) -> float:
    started_at = time.perf_counter()
    subprocess.run(command, env=env, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - started_at


def report() -> None:
    """Run each command in turn, so that noise falls on all, and print medians and ratios."""
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "MEGABOT_HOME": home}
        ours = [sys.executable, "-m", "megabot_cli"]
        gateway = subprocess.Popen(
            [*ours, *GATEWAY],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert gateway.stdin is not None
        assert gateway.stdout is not None
        gateway.stdin.write("bench-password")
        gateway.stdin.close()
        try:
            url = json.loads(gateway.stdout.readline())["url"]
            login = [*ours, "login", "--url", url, "--username", "bench", "--password-stdin"]
            subprocess.run(login, env=env, input=b"bench-password", check=True, capture_output=True)
            commands = {
                "python -c pass": [sys.executable, "-c", "pass"],
                "megabot --version": [*ours, "--version"],
                "megabot --help": [*ours, "--help"],
                "megabot send hi": [*ours, "send", "hi"],
                "megabot send hi --no-wait": [*ours, "send", "hi", "--no-wait"],
            }
            token = subprocess.run([*ours, "token"], env=env, check=True, capture_output=True)
            if wscat := find("wscat"):
                with_token = f"{url}?token={token.stdout.decode().strip()}"
                commands["wscat -x hi"] = [wscat, "-c", with_token, "-x", "hi"]
            else:
                print("not found, not measured: wscat")
            times: dict[str, list[float]] = {name: [] for name in commands}
            for _ in range(RUNS):
                for name, command in commands.items():
                    times[name].append(wall_s(command, env))
        finally:
            gateway.terminate()
            gateway.wait()
            gateway.stdout.close()
    against = statistics.median(times.get("wscat -x hi", [0.0]))
    base = statistics.median(times["python -c pass"])
    print(f"\nStart to exit, {RUNS} runs each\n{'':40}{'ms':>8}{'python':>8}{'wscat':>8}")
    for name, taken in times.items():
        median = statistics.median(taken)
        beside = f"{median / against:8.1f}" if against else ""
        print(f"{name:40}{median * 1000:8.0f}{median / base:8.1f}{beside}")
