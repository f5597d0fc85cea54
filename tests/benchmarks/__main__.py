"""Run every benchmark, one after another: `make bench`."""

from __future__ import annotations

import argparse

from tests.benchmarks import (
    fan_out,
    latency,
    message_path,
    reading,
    recording,
    replaying,
    searching,
    start_up,
    streams,
    tailing,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="per measured relay")
    parser.add_argument("--rounds", type=int, default=3, help="of the message path")
    options = parser.parse_args()
    message_path.report(seconds=options.seconds, rounds=options.rounds)
    latency.report(rounds=options.rounds)
    fan_out.report(rounds=options.rounds)
    streams.report()
    recording.report()
    searching.report()
    replaying.report()
    reading.report()
    tailing.report()
    start_up.report()


if __name__ == "__main__":
    main()
