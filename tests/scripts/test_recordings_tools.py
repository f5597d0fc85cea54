"""Recordings are turned into other things, and back, as an operator types it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.scripts.conftest import Operator

GOLDEN = Path(__file__).parents[1] / "golden"


SEALED = GOLDEN / "recording_1_0" / "sealed"


CHROMIUM = GOLDEN / "har" / "chromium_156.har"


def test_of_one_client_its_answers_are_counted_and_shown_too(
    stranger: Operator, tmp_path: Path
) -> None:
    records = map(
        json.loads, stranger.types("rec", "show", str(SEALED), "--json").stdout.splitlines()
    )
    asker = next(each["client"] for each in records if each.get("type") == "chat_send")
    chosen = (str(SEALED), "--client", asker)
    counted = json.loads(stranger.types("rec", "stats", *chosen, "--json").stdout)
    assert counted["answered"] > 0
    shown = stranger.types("rec", "show", *chosen, "--conversation").stdout
    assert "answered: " in shown
    told = stranger.types("rec", "convert", *chosen, "-", "--to", "markdown").stdout
    assert "**MegaBot** (began after" in told
    same = json.loads(stranger.types("rec", "diff", *chosen[:1], *chosen, "--json").stdout)
    assert same["same"] == counted["requests"]


@pytest.mark.parametrize("command", [("stats",), ("show", "--conversation")])
def test_where_questions_alone_were_chosen_it_says_that_of_answers_nothing_is_told(
    stranger: Operator, command: tuple[str, ...]
) -> None:
    told = "nothing that came was chosen"
    assert told in stranger.types("rec", *command, str(SEALED), "--type", "chat_send").stderr
    assert told not in stranger.types("rec", *command, str(SEALED), "--type", "chat_*").stderr
    assert told not in stranger.types("rec", *command, str(SEALED)).stderr


def test_a_conversation_without_words_says_where_its_messages_are(
    stranger: Operator, tmp_path: Path
) -> None:
    shape = str(tmp_path / "shape.jsonl")
    made = stranger.types("recordings", "sanitize", str(SEALED), shape, "--drop-payload")
    assert made.returncode == 0
    shown = stranger.types("recordings", "show", shape, "--conversation")
    told = r"what \d+ messages said was left out of the recording; without --conversation each is"
    assert re.match(told, shown.stderr)
    records = map(json.loads, stranger.types("rec", "show", shape, "--json").stdout.splitlines())
    wordless = [record for record in records if not record.keys() & {"data", "data_b64"}]
    assert len(wordless) == int(shown.stderr.split()[1])
    whole = stranger.types("recordings", "show", str(SEALED), "--conversation")
    assert "left out" not in whole.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("rec", "show", str(SEALED)),
        ("rec", "grep", "", str(SEALED)),
        ("rec", "stats", str(SEALED)),
        ("rec", "cut", str(SEALED), "-"),
        ("replay", str(SEALED), "--dry-run"),
        ("tail", str(SEALED), "--no-follow"),
    ],
)
def test_a_field_that_no_record_has_is_told_with_what_may_be_meant(
    stranger: Operator, command: tuple[str, ...]
) -> None:
    done = stranger.types(*command, "--where", "payload.any == 1 || typ == 'x' && siz > 1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--where: There is no field 'typ' (column 21)" in done.stderr
    assert "Did you mean 'type'?" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("convert", str(SEALED)), 2, "--to"),
        (("convert", str(SEALED), "--to", "pdf"), 2, "pdf"),
        (("convert", "nope.har", "--to", "jsonl"), 9, "nope.har"),
        (("convert", __file__, "--to", "jsonl"), 11, "test_recordings_tools.py"),
        (("convert", str(SEALED), "/nope/x.har", "--to", "har"), 2, "/nope/x.har"),
        (("convert", str(SEALED), "/dev/null", "--to", "har", "--force"), 2, "/dev/null"),
        (("convert", str(SEALED), "--from", "har", "--to", "jsonl"), 11, "folder"),
        (("convert", str(SEALED), "--to", "pytest", "--type", "nothing"), 2, "no request"),
        (("cut", str(SEALED)), 2, "DEST"),
        (("cut", str(SEALED), "-", "--where", "payload.x >"), 2, "--where"),
        (("merge", str(SEALED)), 2, "SOURCES"),
        (("merge", "-", "-", "x"), 2, "once only"),
        (("merge", str(SEALED), "nope", "-"), 9, "nope"),
        (("sanitize", str(SEALED), "-", "--pattern", "("), 2, "no regular expression"),
        (("verify", str(SEALED), "--pattern", "("), 2, "no regular expression"),
    ],
)
def test_what_makes_no_sense_is_refused(
    stranger: Operator, arguments: tuple[str, ...], code: int, told: str
) -> None:
    done = stranger.types("rec", *arguments)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert "broke inside" not in done.stderr


def test_verify_proves_that_patterns_and_keys_of_ones_own_are_gone(
    stranger: Operator, tmp_path: Path
) -> None:
    made = str(tmp_path / "made.jsonl")
    more = ("--pattern", "Gr..e", "--key", "content")
    assert stranger.types("rec", "verify", str(SEALED), "--no-secrets").returncode == 0
    assert stranger.types("rec", "verify", str(SEALED), *more[:2]).returncode == 13
    assert stranger.types("rec", "verify", str(SEALED), *more[2:]).returncode == 13
    assert stranger.types("rec", "sanitize", str(SEALED), made, *more).returncode == 0
    done = stranger.types("rec", "verify", made, "--no-secrets", *more)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_part_is_cut_shown_sanitized_and_merged(stranger: Operator, tmp_path: Path) -> None:
    done = stranger.shell(
        f"cd {tmp_path}; megabot rec cut {SEALED} a --direction to_client"
        f" && megabot rec cut {SEALED} - --direction to_upstream"
        "    | megabot rec sanitize - b --key content"
        " && megabot rec merge a b c && megabot rec verify c --no-secrets"
        " && megabot rec show c --type chat_send -o raw"
    )
    assert done.returncode == 0, done.stderr
    assert ": clean\n" in done.stdout
    assert "Grüße" not in done.stdout
    assert '"content":"‹redacted:' in done.stdout


@pytest.mark.parametrize("words", [("--type", "chat_*"), ("--session", "sess_1", "--until", "n=9")])
def test_a_part_differs_in_nothing_from_what_it_was_cut_from(
    stranger: Operator, tmp_path: Path, words: tuple[str, ...]
) -> None:
    part = str(tmp_path / "part.jsonl")
    assert stranger.types("rec", "cut", str(SEALED), part, *words).returncode == 0
    for pair in ((str(SEALED), part), (part, str(SEALED))):
        done = stranger.types("rec", "diff", *pair)
        assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stdout
        assert f"{part} was cut by {words[0]} " in done.stderr
        assert "only that of the other is compared" in done.stderr


def test_no_secret_that_was_typed_to_choose_stands_in_the_part(
    stranger: Operator, tmp_path: Path
) -> None:
    part = tmp_path / "part.jsonl"
    for words in (("--id", "token=abcdefgh12345678"), ("--grep", "sk-abcdefgh12345678")):
        cut = stranger.types("rec", "cut", str(SEALED), str(part), *words, "--force")
        assert cut.returncode == 0
        assert b"abcdefgh12345678" not in part.read_bytes()
        assert stranger.types("rec", "verify", str(part), "--no-secrets").returncode == 0


@pytest.mark.parametrize("more", [(), ("--drop", "chat_stream")])
def test_no_secret_stands_in_the_words_of_a_cut_that_was_sanitized(
    stranger: Operator, tmp_path: Path, more: tuple[str, ...]
) -> None:
    part, safe = tmp_path / "part.jsonl", tmp_path / "safe.jsonl"
    assert stranger.types("rec", "cut", str(SEALED), str(part), "--id", "K-123456").returncode == 0
    assert b"K-123456" in part.read_bytes()
    pattern = ("--pattern", r"K-\d{6}")
    done = stranger.types("rec", "sanitize", str(part), str(safe), *pattern, *more)
    assert done.returncode == 0
    assert b"K-123456" not in safe.read_bytes()


def test_what_a_part_by_words_that_were_not_kept_lacks_is_told_with_the_reason(
    stranger: Operator, tmp_path: Path
) -> None:
    part = str(tmp_path / "part.jsonl")
    assert stranger.types("rec", "cut", str(SEALED), part, "--grep", "Gr").returncode == 0
    done = stranger.types("rec", "diff", str(SEALED), part)
    assert done.returncode == 13
    assert f"{part} was cut by --grep '…': what it left out counts as missing" in done.stderr


def test_of_a_part_made_without_types_no_whole_is_compared_as_if_it_had_them(
    stranger: Operator, tmp_path: Path
) -> None:
    part, less = str(tmp_path / "part.jsonl"), str(tmp_path / "less.jsonl")
    assert stranger.types("rec", "cut", str(SEALED), part, "--type", "chat_*").returncode == 0
    dropping = ("--drop", "chat_stream")
    assert stranger.types("rec", "sanitize", part, less, *dropping).returncode == 0
    done = stranger.types("rec", "diff", str(SEALED), less)
    assert done.returncode == 13
    assert "--type 'chat_*' | …: what it left out counts as missing" in done.stderr


def test_more_than_may_be_open_at_a_time_are_no_bad_recordings(
    stranger: Operator, tmp_path: Path
) -> None:
    for number in range(40):
        shutil.copy(SEALED / "000001.jsonl", tmp_path / f"{number}.jsonl")
    done = stranger.shell(f"cd {tmp_path}; ulimit -n 30; megabot rec merge *.jsonl all.jsonl")
    assert done.returncode == 1
    assert "cannot be read: Too many open files" in done.stderr
    assert "ulimit -n" in done.stderr
    assert not (tmp_path / "all.jsonl").exists()


def test_nothing_wanted_makes_an_empty_recording_and_says_so(stranger: Operator) -> None:
    done = stranger.types("rec", "cut", str(SEALED), "-", "--type", "nothing")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2)
    assert "nothing was wanted" in done.stderr


def test_a_part_from_a_mark_that_is_not_there_is_none(stranger: Operator, tmp_path: Path) -> None:
    made = tmp_path / "made.jsonl"
    done = stranger.types("rec", "cut", str(SEALED), str(made), "--from", "nosuchmark")
    assert (done.returncode, list(tmp_path.glob("*.jsonl"))) == (9, [])
    assert "there is no mark 'nosuchmark'" in done.stderr


def test_no_file_is_made_that_would_then_be_meant_by_last(stranger: Operator) -> None:
    for line in (
        f"merge {SEALED} last",
        f"cut {SEALED} last",
        f"sanitize {SEALED} last --force",
        f"convert {SEALED} last --to har",
    ):
        done = stranger.types("rec", *line.split())
        assert (done.returncode, done.stdout) == (2, "")
        assert "last stands for the newest recording" in done.stderr
        assert "./last" in done.stderr
        assert not Path("last").exists()


def test_a_source_may_be_replaced_by_what_is_made_of_it(stranger: Operator, tmp_path: Path) -> None:
    made = tmp_path / "a.jsonl"
    assert stranger.types("rec", "cut", str(SEALED), str(made)).returncode == 0
    size = made.stat().st_size
    done = stranger.types("rec", "sanitize", str(made), str(made), "--drop-payload", "--force")
    assert done.returncode == 0, done.stderr
    assert made.stat().st_size < size
    assert stranger.types("rec", "verify", str(made)).returncode == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("",), "--events"),
        (("", "--type", "error", "--session", "s"), "Chosen by --type, --session"),
        (("nowhere", "--type", "chat_*"), "An empty pattern"),
        (("(",), "PATTERN is no regular expression: missing ), unterminated subpattern at char"),
    ],
)
def test_who_finds_nothing_hears_what_chose(
    stranger: Operator, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    pattern, *more = words
    part = tmp_path / "part.jsonl"
    part.write_text((SEALED / "000001.jsonl").read_text().splitlines(keepends=True)[0])
    done = stranger.types("rec", "grep", pattern, str(part), *more)
    assert done.returncode in (2, 9)
    assert told in done.stderr


def test_a_mark_that_is_not_there_is_told(stranger: Operator) -> None:
    for line in (("rec", "show", str(SEALED)), ("replay", str(SEALED), "--dry-run")):
        done = stranger.types(*line, "--from", "nowhere")
        assert "there is no mark 'nowhere' in it" in done.stdout + done.stderr, line


def test_marks_that_are_there_bound_a_replay_without_a_word(
    stranger: Operator, tmp_path: Path
) -> None:
    said = {"id": "m", "type": "chat_send", "payload": {"content": "hi"}}
    about = {"kind": "message", "direction": "to_upstream", "client": "c", "id": "m"}
    lines: list[dict[str, Any]] = [
        {"format": "megabot-recording", "version": "1.0", "recording": "rec_1", "segment": 1,
         "started_at": "2026-11-23T04:12:09.123456Z", "clock": "monotonic"},
        {"n": 1, "t": 1, "kind": "mark", "note": "begin"},
        {"n": 2, "t": 2, **about, "type": "chat_send", "data": json.dumps(said)},
        {"n": 3, "t": 3, "kind": "mark", "note": "end"},
        {"n": 4, "t": 4, **about, "type": "chat_send", "data": json.dumps(said)},
    ]  # fmt: skip
    marked = tmp_path / "marked.jsonl"
    marked.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    done = stranger.types("replay", str(marked), "--dry-run", "--from", "begin", "--until", "end")
    assert "would send   1 message" in done.stdout
    assert "mark" not in done.stdout + done.stderr


def test_a_browsers_file_is_shown_without_secrets_the_operators_own_included(
    stranger: Operator,
) -> None:
    (stranger.home / "config.yaml").write_text("recording:\n  redact_keys: [content]\n")
    for form in (("-o", "raw"), ("--json",), ("--conversation",)):
        done = stranger.types("rec", "show", str(CHROMIUM), *form)
        assert done.returncode == 0, done.stderr
        assert "canary" not in done.stdout + done.stderr
        assert "Welcome." not in done.stdout
        assert "weather" in done.stdout


def test_what_was_chosen_in_vain_is_told(stranger: Operator, tmp_path: Path) -> None:
    done = stranger.types("rec", "show", str(SEALED), "-t", "nope_*")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("nothing in it was chosen")
    made = str(tmp_path / "made.jsonl")
    done = stranger.types("rec", "sanitize", str(SEALED), made, "--key", "nope", "--drop", "nope")
    assert done.returncode == 0
    assert "warning: nothing was found of what --key and --pattern name" in done.stderr
    assert "warning: nothing was found of what --drop names" in done.stderr


def test_a_search_reads_what_others_wrote_and_says_it_in_json(
    stranger: Operator, tmp_path: Path
) -> None:
    bare = tmp_path / "bare.jsonl"
    bare.write_text('{"id":"m","type":"chat_send","payload":{"content":"weather"}}\n')
    line = ("rec", "grep", "weather", str(CHROMIUM), str(bare))
    assert "weather" in stranger.types(*line, "-o", "raw").stdout
    counted = json.loads(stranger.types(*line, "--count", "--json").stdout)
    assert [each["recording"] for each in counted] == [str(CHROMIUM), str(bare)]
    assert counted[1]["count"] == 1
    named = stranger.types(*line, "--names", "--jsonl").stdout.splitlines()
    assert [json.loads(each) for each in named] == [
        {"recording": str(CHROMIUM)}, {"recording": str(bare)},
    ]  # fmt: skip
    assert stranger.types("rec", "stats", str(bare)).stdout.startswith(str(bare))


def test_a_recording_that_cannot_be_read_is_told_by_who_looks_through_all(
    stranger: Operator, tmp_path: Path
) -> None:
    folder = stranger.home / "recordings"
    for name, old, new in (("rec_a", "1.0", "1.0"), ("rec_b", '"1.0"', '"2.0"')):
        (folder / name).mkdir(parents=True)
        text = (SEALED / "000001.jsonl").read_text().replace(old, new, 1)
        (folder / name / "000001.jsonl").write_text(text)
    for line in (("rec", "list"), ("rec", "grep", "", "--count")):
        done = stranger.types(*line)
        assert done.returncode == 0
        assert "rec_b cannot be read" in done.stderr
        assert "Install a newer megabot" in done.stderr
    done = stranger.types("rec", "grep", "", "last", "--names")
    assert done.stdout == "rec_a\n"


def test_events_are_found_by_their_words(stranger: Operator, tmp_path: Path) -> None:
    source = tmp_path / "marked.jsonl"
    header = (SEALED / "000001.jsonl").read_text().splitlines()[0]
    source.write_text(
        f'{header}\n{{"n":1,"t":1,"kind":"mark","note":"deployed 1.4"}}\n'
        '{"n":2,"t":2,"kind":"close","code":1000,"reason":"deployed too"}\n'
    )
    line = ("rec", "grep", "deployed", str(source), "--count")
    assert stranger.types(*line, "--events").stdout == "2\n"
    missed = stranger.types(*line)
    assert missed.returncode == 9
    assert "--events" in missed.stderr


def test_a_conversation_refuses_the_fields_that_it_would_leave_unused(stranger: Operator) -> None:
    for words in (("--fields", "id"), ("--template", "{id}")):
        done = stranger.types("rec", "show", str(SEALED), "--conversation", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"--conversation has no {words[0]}" in done.stderr


def test_a_doubled_segment_is_one_problem_and_no_list_of_them(
    stranger: Operator, tmp_path: Path
) -> None:
    for number in ("000001", "000002"):
        (tmp_path / f"{number}.jsonl").write_bytes((SEALED / "000001.jsonl").read_bytes())
    done = stranger.types("rec", "verify", str(tmp_path))
    assert done.returncode == 13
    assert done.stderr.count("time goes back") == 1
