"""Finding records in a large recording, against `jq -c select` on the same file."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from megabot_cli.recording.format_v1 import End, Header, encode_end, encode_header, encode_record
from megabot_cli.recording.record import Record
from megabot_cli.storage.compressing import compress
from megabot_cli.storage.index_finding import refresh_index
from tests.benchmarks.message_path import pin
from tests.benchmarks.peak import Measured

_WORDS = ("the quick brown fox", "jumps over", "a lazy dog", "while nobody looks", "at all of them")
_TYPES = (
    ["chat_stream"] * 80
    + ["chat_send"] * 6
    + ["chat_receive"] * 7
    + ["status_update"] * 6
    + ["error"]
)
# (what is asked, of us, of jq)
_QUESTIONS = (
    ("--type error", ["--type", "error"], 'select(.type=="error")'),
    ("--session, one of 1 000", ["--session", "sess_042"], 'select(.session=="sess_042")'),
    ("--id", ["--id", "msg_000000001000"], 'select(.id=="msg_000000001000")'),
    (
        "--where payload.code >= 500",
        ["--where", "payload.code >= 500"],
        'select((.data // "{}" | fromjson | .payload.code) >= 500)',
    ),
    (
        "--where size > 400 || n < 3",
        ["--where", "size > 400 || n < 3"],
        "select(.size > 400 or .n < 3)",
    ),
    (
        "--where size % 97 == 0 && n > 3",
        ["--where", "size % 97 == 0 && n > 3"],
        "select(.size != null and .size % 97 == 0 and .n > 3)",
    ),
    (
        "--where size(data) > 300 || type in [..]",
        ["--where", 'size(data) > 300 || type in ["error"]'],
        'select((.data // "" | length) > 300 or .type == "error")',
    ),
    (
        "--where has(payload.code) && ...",
        ["--where", "has(payload.code) && payload.code >= 500"],
        'select((.data // "{}" | fromjson | .payload) | has("code") and .code >= 500)',
    ),
    (
        "--where !type.startsWith(..) && ..",
        ["--where", "!type.startsWith('chat_') && payload.sequence * 2 > 90"],
        'select((.type // "" | startswith("chat_") | not)'
        ' and (.data // "{}" | fromjson | .payload.sequence // 0) * 2 > 90)',
    ),
    (
        "--where matches, plain",
        ["--where", "payload.content.matches('^jumps .* dog$')"],
        'select(.data // "{}" | fromjson | .payload.content // "" | test("^jumps .* dog$"))',
    ),
    (
        "--where matches, sets of letters",
        ["--where", "payload.content.matches('^jumps .* [df]o[gx]$')"],
        'select(.data // "{}" | fromjson | .payload.content // "" | test("^jumps .* [df]o[gx]$"))',
    ),
    (
        "--where matches one of two",
        ["--where", "payload.content.matches('^jumps .* (dog|fox)$')"],
        'select(.data // "{}" | fromjson | .payload.content // "" | test("^jumps .* (dog|fox)$"))',
    ),
)


def write(path: Path, size_bytes: int, *, in_time: bool = False) -> int:
    """A sealed recording of that size; returns how many records it has.

    What occurs in it occurs everywhere; `in_time` is as traffic goes: of a thousand sessions
    forty are there at a time, one goes and one comes, and errors come in bursts, ten in all.
    """
    chance = random.Random(7)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        header = Header(recording="rec_bench", started_at="2026-11-23T04:12:09.123456Z")
        header.tool = "megabot bench"
        batch = encode_header(header)
        written = n = t = 0
        while True:
            file.write(batch)
            digest.update(batch)
            written += len(batch)
            if written >= size_bytes:
                break
            share = written / size_bytes
            lines = []
            for _ in range(5000):
                n += 1
                t += chance.randint(1, 2000)
                kind, session = chance.choice(_TYPES), chance.randint(0, 999)
                if in_time:
                    session = int(share * 960) + session % 40
                    if kind == "error" and share % 0.1 > 0.002:
                        kind = "status_update"
                lines.append(encode_record(_record(chance, n, t, kind, f"sess_{session:03}")))
            batch = b"".join(lines)
        end = End(n=n + 1, t=t, records=n, bytes=written, sha256=digest.hexdigest())
        end.counts = {"message": n}
        file.write(encode_end(end))
    return n


def _record(chance: random.Random, n: int, t: int, kind: str, session: str) -> Record:
    said = " ".join(chance.choices(_WORDS, k=6))
    payload = f'{{"content":"{said}","sequence":{n % 50}}}'
    if kind == "error":
        payload = f'{{"error":"busy","code":{chance.choice((429, 500, 503))},"message":"{said}"}}'
    data = (
        f'{{"id":"msg_{n:012}","type":"{kind}","payload":{payload},"timestamp":1640995200,'
        f'"metadata":{{"session_id":"{session}","reply_to":"msg_{n - 3:012}"}}}}'
    )
    return Record(
        n=n,
        t=t,
        kind="message",
        direction="to_client",
        client=f"client_{n % 40}",
        link="link_1",
        session=session,
        id=f"msg_{n:012}",
        type=kind,
        reply_to=f"msg_{n - 3:012}",
        size=len(data),
        data=data,
    )


def _timed(command: list[str]) -> tuple[float, float]:
    """Seconds from start to exit, and MiB of memory at most."""
    started_at = time.perf_counter()
    running = Measured(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak_mib = running.peak_mib()
    return time.perf_counter() - started_at, peak_mib


def _first_record(path: Path, n: int) -> float:
    """Seconds from start to the first line of what stands there."""
    command = [sys.executable, "-m", "megabot_cli", "recordings", "show", str(path), "--json"]
    command += ["--from", f"n={n}", "--limit", "1"]
    started_at = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as showing:
        assert showing.stdout is not None
        line = showing.stdout.readline()
        took = time.perf_counter() - started_at
    assert f'"n":{n},'.encode() in line, line
    return took


def _search(title: str, path: Path, ours: list[str]) -> tuple[float, str]:
    """Seconds that a search took, and a line that says so; with its memory."""
    command = [sys.executable, "-m", "megabot_cli", "recordings", "grep", "", str(path)]
    took, memory = _timed([*command, *ours, "--json"])
    return took, f"{title:40}{took:12.2f}{{}}{memory:12.0f}"


def _against_jq(size_bytes: int, folder: Path, jq: str | None) -> None:
    path = folder / "000001.jsonl"
    records = write(path, size_bytes)
    subprocess.run(["cat", str(path)], stdout=subprocess.DEVNULL, check=True)  # into memory
    print(f"\nSearching {size_bytes / 2**20:.0f} MiB, {records} records; all kinds everywhere")
    print(" " * 40 + "".join(name.rjust(12) for name in ("s", "jq s", "times", "MiB")))
    refresh_index(path)
    for title, ours, theirs in _QUESTIONS:
        took, figures = _search(title, path, ours)
        print(figures.format(_beside(took, jq, theirs, path)))
    index = path.with_suffix(".index")
    print(f"its index: {index.stat().st_size / path.stat().st_size:.2%} of it")


def _beside(took: float, jq: str | None, theirs: str, path: Path) -> str:
    if jq is None:
        return " " * 24
    theirs_took, _ = _timed([jq, "-c", theirs, str(path)])
    return f"{theirs_took:12.2f}{theirs_took / took:12.1f}"


def _with_index(size_bytes: int, folder: Path, jq: str | None) -> None:
    """The same where what is sought stands in some places only, without an index and with."""
    path = folder / "000001.jsonl"
    records = write(path, size_bytes, in_time=True)
    index = path.with_suffix(".index")
    index.unlink(missing_ok=True)
    folder.chmod(0o755)  # where others look in, none is made
    print(f"Sessions that come and go, errors in bursts, {records} records")
    subprocess.run(["cat", str(path)], stdout=subprocess.DEVNULL, check=True)
    for title, ours, theirs in _QUESTIONS[:2]:
        took, figures = _search(f"{title}, no index", path, ours)
        print(figures.format(_beside(took, jq, theirs, path)))
    middle = str(records // 2)
    print(f"{'--from n=' + middle + ', no index':40}{_best_first(path, records // 2):12.2f}")
    folder.chmod(0o700)
    began_at = time.perf_counter()
    refresh_index(path)
    took = time.perf_counter() - began_at
    share = index.stat().st_size / path.stat().st_size
    print(f"{'the index, made of the file':40}{took:12.2f}   {share:.2%} of it")
    for title, ours, theirs in _QUESTIONS[:2]:
        took, figures = _search(f"{title}, index", path, ours)
        print(figures.format(_beside(took, jq, theirs, path)))
    print(f"{'--from n=' + middle + ', index':40}{_best_first(path, records // 2):12.2f}")
    packed = compress(path)
    print(f"The same, compressed, {packed.stat().st_size / 2**20:.0f} MiB")
    for name in ("index", "no index"):
        for title, ours, _ in _QUESTIONS[:2]:
            print(_search(f"{title}, {name}", packed, ours)[1].format(" " * 24))
        took = _best_first(packed, records // 2)
        print(f"{'--from n=' + middle + ', ' + name:40}{took:12.2f}")
        index.unlink(missing_ok=True)
        folder.chmod(0o755)
    folder.chmod(0o700)


def _best_first(path: Path, n: int) -> float:
    return min(_first_record(path, n) for _ in range(5))


def report(size_bytes: int = 256 * 1024 * 1024) -> None:
    """MEGABOT_BENCH_BYTES makes the file larger: 1 GiB is what the promise is about."""
    size_bytes = int(os.environ.get("MEGABOT_BENCH_BYTES", size_bytes))
    jq = shutil.which("jq")
    pin(0, 0)
    with tempfile.TemporaryDirectory() as folder:
        _against_jq(size_bytes, Path(folder), jq)
        _with_index(size_bytes, Path(folder), jq)
        if jq is None:
            print("not found, not measured: jq")


if __name__ == "__main__":
    report()
