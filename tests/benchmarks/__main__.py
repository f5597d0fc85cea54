"""Run every benchmark, one after another: `make bench`."""

from __future__ import annotations

import argparse
import compileall
from pathlib import Path

import megabot_cli
from tests.benchmarks import (
    fan_out,
    latency,
    message_path,
    reading,
    recorded_latency,
    recording,
    replaying,
    searching,
    start_up,
    streams,
    tailing,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.5, help="per measured relay")
    parser.add_argument(
        "--rounds", type=int, default=8, help="of the message path, each way in turn"
    )
    options = parser.parse_args()
    # As an installer does. Where the environment forbids Python to do it, each start of ours
    # would compile all over again what the peers have compiled.
    compileall.compile_dir(Path(megabot_cli.__file__).parent, quiet=2)
    message_path.report(seconds=options.seconds, rounds=options.rounds)
    latency.report()
    recorded_latency.report()
    fan_out.report()
    streams.report()
    recording.report()
    searching.report()
    replaying.report()
    reading.report()
    tailing.report()
    start_up.report()


if __name__ == "__main__":
    main()
