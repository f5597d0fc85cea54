"""What somebody else made to do harm harms nothing, whichever tool reads it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from megabot_cli.storage.verification import verify
from tests.scripts.conftest import Operator
from tests.scripts.test_terminal import ended, on_a_terminal

DEPTH = 10_000
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
FORMS = ("har", "jsonl", "markdown", "pytest", "recording")


def hostile_recording(path: Path) -> Path:
    """One in which every text would take over a terminal, its own name included; and what is
    longer and nested deeper than anything that is meant."""
    evil = "\x1b]52;c;ZXZpbA==\x07\x9b2J\u202e"

    def message(n: int, direction: str, kind: str, payload: Any, **metadata: str) -> dict[str, Any]:
        text = {"id": f"m{n}{evil}", "type": kind, "payload": payload, "metadata": metadata}
        return {
            "n": n, "t": n, "kind": "message", "direction": direction, "client": f"c{evil}",
            "link": f"l{evil}", "session": f"s{evil}", "user": f"u{evil}", "id": f"m{n}{evil}",
            "type": kind, **metadata, "size": 1, "data": json.dumps(text),
        }  # fmt: skip

    tool = {"tool_name": f"rm{evil}", "parameters": {evil: evil}, "execution_id": f"e{evil}"}
    lines = [
        {"format": "megabot-recording", "version": "1.0", "recording": f"rec{evil}", "segment": 1,
         "previous": f"../../etc{evil}", "started_at": "2026-11-23T04:12:09.123456Z",
         "clock": "monotonic", "tool": evil, "upstream": f"wss://x{evil}/", "redaction": evil,
         "labels": {evil: evil}},
        message(1, "to_upstream", "chat_send", {"content": f"ask{evil}"}),
        message(2, "to_client", "tool_call", tool, reply_to=f"m1{evil}"),
        message(3, "to_client", "chat_receive", {"content": evil}, reply_to=f"m1{evil}"),
        message(4, "to_upstream", f"odd{evil}", {evil: evil}),
        {"n": 5, "t": 5, "kind": "mark", "note": evil},
        {"n": 6, "t": 6, "kind": "fault", "note": evil},
        {"n": 7, "t": 7, "kind": "drop", "note": evil},
        {"n": 8, "t": 8, "kind": f"later{evil}", "note": evil},
        {"n": 9, "t": 9, "kind": "close", "code": 1008, "reason": evil, "by": evil},
        {"n": 9, "t": 9, "kind": "mark"},
    ]  # fmt: skip
    deep, deep_object = "[" * DEPTH + "]" * DEPTH, '{"a":' * DEPTH + "1" + "}" * DEPTH
    payloads = [f'{{"content":{deep_object}}}', deep, f'{{"content":"{"x" * 2**20}"}}']
    texts = [f'{{"id":"d","type":"chat_send","payload":{payload}}}' for payload in payloads]
    about = {"kind": "message", "direction": "to_upstream", "client": "c", "type": "chat_send"}
    odd = [
        *(json.dumps({"n": n, "t": n, **about, "data": text}) for n, text in enumerate(texts, 10)),
        f'{{"n":13,"t":13,"kind":"mark","note":"x","later":{deep_object}}}',
        f'{{"n":14,"t":14,"kind":"later","data":{deep}}}',
        *(
            json.dumps({**about, "data": "x", "n": 15, "t": 15, **odd_number})
            for odd_number in ({"t": 3 * 10**17}, {"t": 10**400}, {"n": 10**30}, {"size": 10**400})
        ),
        json.dumps({"n": 16, "t": 10**16, **about, "data": '{"id":"late","type":"chat_send"}'}),
        deep, deep_object, "no record", "q" * 2**20,
    ]  # fmt: skip
    file = path / f"evil{evil.replace('/', '')}.jsonl"
    file.write_text("".join(f"{line}\n" for line in [*map(json.dumps, lines), *odd]))
    return file


def lines_for(evil: str, other: str, made: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """Everything that reads a recording, as it is typed, with the exit code it ends with."""
    more: tuple[str, ...]
    for more in ((), ("--json",)):
        yield ("rec", "show", evil, *more), 0
        yield ("rec", "stats", evil, *more), 0
        yield ("rec", "verify", evil, "--no-secrets", *more), 13
        yield ("rec", "diff", evil, other, *more), 13
        yield ("replay", evil, "--dry-run", *more), 0
    yield ("tail", evil), 0
    yield ("rec", "list"), 0
    yield ("rec", "show", evil, "--conversation"), 0
    yield ("rec", "show", evil, "--template", "{type} {payload}"), 0
    yield ("rec", "grep", "ask", "--where", "payload.content != 'no such'"), 0
    yield ("rec", "cut", evil, f"{made}.cut", "--type", "chat_*"), 0
    yield ("rec", "merge", evil, other, f"{made}.merge"), 0
    yield ("rec", "sanitize", evil, f"{made}.sanitize", "--key", "content"), 0
    yield ("rec", "prune", "--keep-days", "1", "--dry-run"), 0
    for form in FORMS:
        yield ("rec", "convert", evil, f"{made}.{form}", "--to", form), 0


def test_a_hostile_recording_steers_no_terminal_whatever_reads_it(
    stranger: Operator, tmp_path: Path
) -> None:
    evil, other = hostile_recording(tmp_path), tmp_path / "other.jsonl"
    other.write_text(evil.read_text().replace("ask", "other"))
    kept = stranger.home / "recordings" / evil.stem
    kept.mkdir(parents=True)
    shutil.copy(evil, kept / "000001.jsonl")
    made = tmp_path / "made"
    made.mkdir()

    def run(line: tuple[tuple[str, ...], int]) -> subprocess.CompletedProcess[str]:
        return stranger.types(*line[0])

    lines = list(lines_for(str(evil), str(other), str(made / "x")))
    with ThreadPoolExecutor(2) as pool:
        for (line, code), done in zip(lines, pool.map(run, lines), strict=True):
            said = done.stdout + done.stderr
            assert done.returncode == code, (line, done.stderr)
            assert "Traceback" not in said, (line, said)
            assert not STEERING.search(said), (line, said)
    outputs = {"cut", "merge", "sanitize", *FORMS}
    assert {path.name for path in made.iterdir()} == {f"x.{name}" for name in outputs}
    for name in ("markdown", "pytest"):  # the others are JSON, and for programs
        assert not STEERING.search((made / f"x.{name}").read_text()), name
    for name in ("cut", "merge", "sanitize", "recording"):
        found = verify(made / f"x.{name}")
        assert (found.bad_lines, found.torn_bytes, found.records > 4) == (0, 0, True), name
    left = {path for path in tmp_path.rglob("*.jsonl") if made not in path.parents}
    assert left == {evil, other, kept / "000001.jsonl"}


def test_what_is_made_of_a_hostile_recording_steers_no_terminal_either(
    stranger: Operator, tmp_path: Path
) -> None:
    evil = str(hostile_recording(tmp_path))
    for line in (("rec", "show", evil, "-o", "raw"), ("rec", "cut", evil, "-")):
        with on_a_terminal(stranger, *line, MEGABOT_PAGER="cat") as child:
            shown, code = ended(child)
        assert code == 0, (line, shown[-500:])
        lines = re.sub(r"\x1b\[[0-9;]*[mK]|\r", "", shown)  # colours, and the bar on stderr
        assert not STEERING.search(lines), line


def test_the_name_of_what_holds_matches_is_harmless_on_a_terminal_and_exact_elsewhere(
    stranger: Operator, tmp_path: Path
) -> None:
    line = ("rec", "grep", "", str(hostile_recording(tmp_path)), "--names")
    with on_a_terminal(stranger, *line, NO_COLOR="1") as child:
        shown, code = ended(child)
    assert code == 0
    assert not STEERING.search(shown.replace("\r", ""))
    assert line[3] in stranger.types(*line).stdout
