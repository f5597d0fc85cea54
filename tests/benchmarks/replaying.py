"""How punctual a replay is, and what it costs beside a loop that only sends."""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import uvloop

from megabot_cli.client.connection import MegaBotClient
from megabot_cli.recording.format_v1 import Header, encode_header, encode_record
from megabot_cli.recording.record import Record
from megabot_cli.replay.conversation import read_conversation
from megabot_cli.replay.options import ReplayOptions
from megabot_cli.replay.outcome import Played
from megabot_cli.replay.player import Replay
from megabot_cli.storage.recording_reader import open_recording
from tests.benchmarks.message_path import pin, process
from tests.benchmarks.send_loop import message

_CLIENTS = 10


def write(path: Path, messages: int, rate: int, clients: int) -> None:
    """A recording of messages at an even rate, each answered at once."""
    lines = [encode_header(Header(recording="rec_bench", tool="megabot bench"))]
    n = 0
    for number in range(messages):
        client = f"client_{number % clients}"
        at_us = number * 1_000_000 // rate
        text = message(number)
        came = text.replace('"chat_send"', '"chat_receive"', 1)
        for direction, kind, data in (
            ("to_upstream", "chat_send", text),
            ("to_client", "chat_receive", came),
        ):
            n += 1
            record = Record(
                n=n,
                t=at_us,
                kind="message",
                direction=direction,
                client=client,
                link=f"link of {client}",
                id=f"msg_{number:012}",
                type=kind,
                size=len(data),
                data=data,
            )
            lines.append(encode_record(record))
    path.write_bytes(b"".join(lines))


async def replay(url: str, path: Path, options: ReplayOptions) -> tuple[Played, float]:
    """What it came to, and the CPU seconds from when all are connected, as of the loop beside it,
    to the last verdict."""

    def new_client(_name: str, session: str | None) -> MegaBotClient:
        return MegaBotClient(
            url,
            api_key="bench",
            session_id=session,
            validate=False,
            messages_per_second=0,
            queue=0,
        )

    with open_recording(path) as reader, closing(read_conversation(reader, options)) as read:
        # as the command does
        playing = Replay(read, options, new_client, with_cases=False)
        began = 0.0

        def begin() -> None:
            nonlocal began
            began = time.process_time()

        playing.on_begin = begin
        gc.freeze()
        played = await playing.play()
        return played, time.process_time() - began


def report(
    rate: int = 1000, seconds: float = 20.0, messages: int = 20_000, rounds: int = 15
) -> None:
    """MEGABOT_BENCH_SECONDS makes the punctuality run longer: 600 is what the promise is about."""
    seconds = float(os.environ.get("MEGABOT_BENCH_SECONDS", seconds))
    pin(0, 0)
    with (
        tempfile.TemporaryDirectory() as folder,
        process("tests.benchmarks.upstream") as (pid, url),
    ):
        pin(pid, -1)
        paced, quick = Path(folder) / "paced.jsonl", Path(folder) / "quick.jsonl"
        write(paced, int(rate * seconds), rate, _CLIENTS)
        played, _ = uvloop.run(replay(url, paced, ReplayOptions(expect="none")))
        late = played.figures.now["lateness_ms"]
        p50, p99, most = late.percentiles(0.5, 0.99, 1.0)
        drift_ms = (played.report.duration_s - (rate * seconds - 1) / rate) * 1000
        print(f"\nReplay, {rate} messages/s for {seconds:.0f} s, {_CLIENTS} clients: lateness")
        print(f"  p50 {p50:.2f} ms, p99 {p99:.2f} ms, most {most:.2f} ms")
        print(f"  from the first to the last answer {drift_ms:+.1f} ms of what was recorded")
        quickly = ReplayOptions(pace="fast", expect="none")
        # Of so many more that memory has no room for their words: they are kept on disk.
        for count, times in ((messages, rounds), (10 * messages, max(1, rounds // 5))):
            write(quick, count, rate, 1)
            report_quick(url, quick, quickly, count, times)


def report_quick(url: str, path: Path, options: ReplayOptions, messages: int, rounds: int) -> None:
    loop = [sys.executable, "-m", "tests.benchmarks.send_loop", url, str(messages)]
    runs = []
    for _ in range(rounds):  # in turn: a loop takes twice as long where its answers dribble in
        _, took = uvloop.run(replay(url, path, options))
        bare = json.loads(subprocess.run(loop, capture_output=True, check=True).stdout)
        runs.append((took, *bare))
    ours, naive, least = (statistics.median(taken) for taken in zip(*runs, strict=True))
    # Of each two that ran one after the other: what the machine does beside it changes.
    ratio = statistics.median(took / bare for took, bare, _ in runs)
    of_least = statistics.median(looks / bare for _, bare, looks in runs)
    print(
        f"Replay, fast, {messages} messages: CPU per message with what comes back, "
        f"the median of {rounds} runs in turn"
    )
    print(f"  send_str in a loop {naive / messages * 1e6:6.1f} us")
    print(f"  and ids, whose     {least / messages * 1e6:6.1f} us  {of_least:.2f} ×")
    print(f"  replay             {ours / messages * 1e6:6.1f} us  {ratio:.2f} ×")


if __name__ == "__main__":
    report()
