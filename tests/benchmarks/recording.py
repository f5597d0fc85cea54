"""What a record costs the thread that hands it over, and how many a second are written."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from megabot_cli.config.schema import RecordingSettings
from megabot_cli.storage.recorder import Recorder
from tests.benchmarks.quieter import quieter

_RECORDS = 100_000
_TURN = 2_000  # then the writer is given time, as a relay's event loop gives it
_PAUSE_S = 0.05
_TO = ("link_1", "sess_1", "client_1", False)


def _messages(count: int) -> list[bytes]:
    said = "x" * 170
    return [
        f'{{"id":"msg_{n:012}","type":"chat_send","payload":{{"content":"{said}"}},'
        '"timestamp":1640995200}'.encode()
        for n in range(count)
    ]


def _open(folder: str) -> Recorder:
    recorder = Recorder(
        Path(folder), RecordingSettings(), tool="megabot bench", upstream="ws://x", apart=True
    )
    recorder.prepare()
    recorder.start()
    return recorder


def _cost_us(together: int) -> float:
    """CPU of this thread for each record, `together` of them coming in one read."""
    batch = _messages(together)
    with tempfile.TemporaryDirectory() as folder:
        recorder = _open(folder)
        used_ns = 0
        for _ in range(_RECORDS // _TURN):
            began_ns = time.thread_time_ns()
            for _ in range(_TURN // together):
                recorder.keep_messages("to_upstream", batch, *_TO)
            used_ns += time.thread_time_ns() - began_ns
            time.sleep(_PAUSE_S)
        recorder.close()
    return used_ns / _RECORDS / 1000


def _rate() -> float:
    """Records a second from the first to the last on the disk, handed over as fast as they go."""
    batch = _messages(16)
    with tempfile.TemporaryDirectory() as folder:
        recorder = _open(folder)
        began_at = time.perf_counter()
        for _ in range(_RECORDS // len(batch)):
            recorder.keep_messages("to_upstream", batch, *_TO)
            while recorder.must_wait:
                time.sleep(0.001)
        recorder.flush(60)
        took_s = time.perf_counter() - began_at
        assert recorder.records_written >= _RECORDS
        recorder.close()
    return _RECORDS / took_s


def report(rounds: int = 8) -> None:
    print(f"\nRecording, {len(_messages(1)[0])} bytes a message")
    for together in (1, 4, 16):
        cost_us = quieter(_cost_us(together) for _ in range(rounds))
        title = f"the event loop's thread, {together} in one read"
        print(f"{title:40}{cost_us:12.2f} us a record")
    rate = -quieter(-_rate() for _ in range(rounds))
    print(f"{'written':40}{rate:12.0f} records/s")


if __name__ == "__main__":
    report()
