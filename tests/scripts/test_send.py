"""Send one message, or many, and get the answer and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.scripts.conftest import Operator

ANSWER = "You said “hi” to me, which is one word and 2 characters."


@pytest.mark.parametrize("more", [(), ("--no-stream",), ("-o", "text")])
def test_only_the_answer_is_on_stdout(ann: Operator, more: tuple[str, ...]) -> None:
    done = ann.types("send", "hi", *more)
    assert (done.stdout, done.stderr) == (f"{ANSWER}\n", "")


def test_the_words_come_from_an_argument_a_file_or_stdin(ann: Operator, tmp_path: Path) -> None:
    file = tmp_path / "words"
    file.write_text("hi\n")
    assert ann.types("send", "--file", str(file)).stdout == f"{ANSWER}\n"
    assert ann.types("send", "-", typed="hi\n").stdout == f"{ANSWER}\n"


def test_words_that_look_like_options_come_after_two_dashes(ann: Operator) -> None:
    assert "“--help”" in ann.types("send", "--", "--help").stdout


def test_json_gives_the_envelopes_as_they_came(ann: Operator) -> None:
    done = ann.types("send", "hi", "--json")
    envelopes = [json.loads(line) for line in done.stdout.splitlines()]
    assert {each["type"] for each in envelopes[:-1]} == {"chat_stream"}
    assert envelopes[-1]["payload"]["content"] == ANSWER


def test_a_dry_run_prints_the_exact_message_and_reaches_nobody(ann: Operator) -> None:
    done = ann.types(
        "send", "hi", "--dry-run", "--metadata", "a=1", "--payload", '{"platform":"x"}',
        "--url", "ws://127.0.0.1:9/ws",
    )  # fmt: skip
    message = json.loads(done.stdout)
    assert message["type"] == "chat_send"
    assert message["payload"] == {"content": "hi", "platform": "x"}
    assert message["metadata"] == {"a": 1}


def test_any_type_of_message_is_sent_and_its_result_shown(ann: Operator) -> None:
    payload = {"tool_name": "echo", "parameters": {"text": "hello"}, "execution_id": "exec_1"}
    done = ann.types("send", "--type", "tool_call", "--payload", json.dumps(payload))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["execution_id"] == "exec_1"


def test_a_session_goes_on(ann: Operator) -> None:
    session = json.loads(ann.types("whoami", "--json").stdout)["session"]
    done = ann.types("send", "hi", "--session", session, "-v")
    assert f"resumed: session {session}" in done.stderr or f"session {session}" in done.stderr
    assert "is gone" not in done.stderr


def test_waiting_for_nothing_ends_at_once(ann: Operator) -> None:
    done = ann.types("send", "hi", "--wait", "none")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_waiting_for_a_type_shows_so_many_of_it(ann: Operator) -> None:
    done = ann.types("send", "hi", "--wait", "type:chat_stream", "--count", "3")
    assert [json.loads(line)["sequence"] for line in done.stdout.splitlines()] == [1, 2, 3]


@pytest.mark.parametrize(
    "line",
    [
        ("send", "hi", "--wait", "forever"),
        ("send", "hi", "--count", "2"),
        ("send", "hi", "--file", "x"),
        ("send", "hi", "--type", "tool_call"),
        ("send", "hi", "--metadata", "novalue"),
        ("send", "hi", "-o", "yaml"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(ann: Operator, line: tuple[str, ...]) -> None:
    assert ann.types(*line).returncode == 2


@pytest.mark.parametrize(
    ("typed", "meant"), [("replay", "reply"), ("typ:status_update", "type:status_update")]
)
def test_what_waits_for_nothing_there_is_told_what_there_is(
    ann: Operator, typed: str, meant: str
) -> None:
    done = ann.types("send", "hi", "--wait", typed)
    assert (done.returncode, done.stderr) == (
        2,
        f"error: --wait {typed!r} is none of reply, none, type:TYPE\n"
        f"hint: Did you mean {meant!r}?\n",
    )


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["", "both flags"])
def test_many_messages_give_one_line_each_in_their_order(
    ann: Operator, more: tuple[str, ...]
) -> None:
    lines = [*(f"word{n}" for n in range(5)), json.dumps(
        {"id": "mine", "type": "chat_send", "payload": {"content": "enveloped"}}
    )]  # fmt: skip
    done = ann.types("send", "--jsonl", "-", *more, typed="\n".join(lines))
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["line"] for each in results] == [1, 2, 3, 4, 5, 6]
    assert ["word3" in each["answer"] for each in results].index(True) == 3
    assert results[-1]["id"] == "mine"
    assert results[-1]["reply"]["metadata"]["reply_to"] == "mine"


def test_the_lines_of_a_file_are_messages_as_those_of_stdin_are(
    ann: Operator, tmp_path: Path
) -> None:
    file = tmp_path / "questions.txt"
    file.write_text("one\n\ntwo\n")
    done = ann.types("send", "--jsonl", "--file", str(file))
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["line"] for each in results] == [1, 3]
    assert "two" in results[1]["answer"]
    shown = ann.types("send", "--jsonl", "--file", str(file), "--dry-run")
    contents = [json.loads(line)["payload"]["content"] for line in shown.stdout.splitlines()]
    assert contents == ["one", "two"]
    whole = ann.types("send", "--json", "--file", str(file), "--dry-run")
    assert json.loads(whole.stdout)["payload"]["content"] == "one\n\ntwo"


def test_a_file_that_cannot_be_read_is_told_with_what_to_do(ann: Operator, tmp_path: Path) -> None:
    latin = tmp_path / "latin"
    latin.write_bytes(b"caf\xe9\n")
    for more in ((), ("--jsonl",)):
        for path, code, told, hint in (
            (tmp_path / "none", 9, "There is no file", "Check its name."),
            (tmp_path / "no" / "file", 9, "There is no file", "There is no folder"),
            (tmp_path, 9, "is a folder", "Name a file in it."),
            (latin, 11, "is not UTF-8 text (byte 3)", "`iconv -t UTF-8`"),
        ):
            done = ann.types("send", "--file", str(path), *more)
            assert (done.returncode, done.stdout) == (code, "")
            assert told in done.stderr
            assert hint in done.stderr
    assert "Check its name; this is " in ann.types("send", "--file", "none").stderr
    assert ann.types("send", "hi", "--attach", str(tmp_path)).returncode == 9


def test_a_line_that_is_none_is_told_by_its_number_and_column(ann: Operator) -> None:
    done = ann.types("send", "--jsonl", "-", "--no-wait", typed='hi\n\n \n{"type":"x\n')
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["line"] for each in results] == [1, 4]
    told = results[1]["error"]["message"]
    assert told == "the line is no JSON: Unterminated string starting at column 9"
    assert "1 of 2 messages failed" in done.stderr
    alone = ann.types("send", "--jsonl", "-", "--no-wait", typed='{"type":"x\n')
    assert "1 of 1 message failed" in alone.stderr


def test_no_input_is_no_work(ann: Operator) -> None:
    done = ann.shell("megabot send --jsonl - < /dev/null")
    assert (done.returncode, done.stdout) == (0, "")


def test_what_the_upstream_says_cannot_steer_the_terminal(ann: Operator) -> None:
    done = ann.types("send", "-", typed="\x1b]52;c;aGk=\x07\u202eevil")
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert "\\e]52" in done.stdout


def test_a_folder_where_nothing_can_be_kept_is_the_flag_s(ann: Operator) -> None:
    done = ann.types("send", "hi", "--record", "/proc/x")
    assert done.returncode in (5, 12)
    assert "Name another folder with --record." in done.stderr


def test_what_passes_is_kept_as_a_recording_that_replays(ann: Operator, tmp_path: Path) -> None:
    done = ann.types("send", "keep me", "--record", str(tmp_path / "kept"))
    assert done.returncode == 0, done.stderr
    (kept,) = (tmp_path / "kept").iterdir()
    assert f"kept in {kept}" in done.stderr
    fields = ("--fields", "direction,type,payload.content")
    shown = ann.types("recordings", "show", str(kept), *fields).stdout.splitlines()
    assert "to_upstream\tchat_send\tkeep me" in shown
    assert shown[-1].startswith("to_client\tchat_receive\tYou said “keep me”")
    assert ann.types("recordings", "verify", str(kept), "--no-secrets").returncode == 0
    assert ann.types("replay", str(kept)).returncode == 0
    assert ann.types("send", "hi", "--no-wait", "--record", str(tmp_path / "2")).returncode == 0
    assert len(list((tmp_path / "2").iterdir())) == 1
    assert ann.types("send", "hi", "--record", "/proc/no/where").returncode == 12


def test_what_travelled_as_gzip_is_kept_as_text_and_says_so(ann: Operator, tmp_path: Path) -> None:
    long = "long words " * 200
    call = {"tool_name": "echo", "parameters": {"text": long}, "execution_id": "e"}
    sent = ("send", "--type", "tool_call", "--payload", json.dumps(call))
    done = ann.types(*sent, "--record", str(tmp_path), env={"MEGABOT_COMPRESSION": "gzip"})
    assert done.returncode == 0, done.stderr
    (kept,) = tmp_path.iterdir()
    lines = ann.types("recordings", "show", str(kept), "--json").stdout.splitlines()
    notes = {
        record["type"]: (long in record["data"], record.get("note"))
        for record in map(json.loads, lines)
        if record["kind"] == "message"
    }
    assert notes == {
        "connection_established": (False, None),
        "tool_call": (True, "travelled as gzip"),
        "tool_result": (True, "travelled as gzip"),
    }


def test_what_could_not_be_kept_is_told(ann: Operator, tmp_path: Path) -> None:
    lines = "".join(f"line {number}\\n" for number in range(4))
    done = ann.shell(
        f"ulimit -f 8; printf '{lines}' | megabot send --jsonl - --record {tmp_path / 'kept'}"
    )
    assert done.returncode == 0, done.stderr
    assert "warning: the recording cannot be written: File too large; " in done.stderr
    assert "records not kept" in done.stderr


def test_a_recording_that_cannot_begin_leaves_nothing_behind(ann: Operator, tmp_path: Path) -> None:
    done = ann.shell(f"ulimit -f 0; megabot send hi --record {tmp_path / 'kept'}")
    assert done.returncode == 12, done.stderr
    assert "File too large" in done.stderr
    assert list((tmp_path / "kept").iterdir()) == []


def test_an_empty_object_is_a_payload(ann: Operator) -> None:
    done = ann.types("send", "--type", "foo", "--payload", "{}", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["payload"] == {}


def test_fields_of_the_messages_that_came_are_shown(ann: Operator) -> None:
    fields = ("--fields", "direction,type,payload.content")
    lines = ann.types("send", "hi", *fields).stdout.splitlines()
    assert lines[0] == "to_client\tchat_stream\t"
    assert lines[-1] == f"to_client\tchat_receive\t{ANSWER}"
    table = ann.types("send", "hi", *fields, "-o", "table").stdout.splitlines()
    assert table == lines
    objects = ann.types("send", "hi", *fields, "--json").stdout.splitlines()
    assert json.loads(objects[-1]) == {
        "direction": "to_client", "type": "chat_receive", "payload.content": ANSWER
    }  # fmt: skip


def test_a_template_shows_each_message_as_one_says(ann: Operator, tmp_path: Path) -> None:
    (tmp_path / "template").write_text("{time} {type}: {payload.chunk}\n")
    done = ann.types(
        "send", "hi", "--wait", "type:chat_stream", "--count", "2",
        "--template", f"@{tmp_path / 'template'}",
    )  # fmt: skip
    for line in done.stdout.splitlines():
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[0-9:.+-]+ chat_stream: .+", line), line
    assert len(done.stdout.splitlines()) == 2


def test_a_table_has_a_line_for_each_message_and_raw_the_exact_text(ann: Operator) -> None:
    table = ann.types("send", "hi", "-o", "table").stdout.splitlines()
    assert re.fullmatch(rf"[\d:.]+  ←  chat_receive +\S+  {ANSWER}", table[-1])
    raw = ann.types("send", "-", "-o", "raw", typed="\u202e").stdout.splitlines()
    assert "\u202e" in json.loads(raw[-1])["payload"]["content"]
    assert "\u202e" in raw[-1]


def test_fields_of_the_results_of_many_messages(ann: Operator) -> None:
    done = ann.types("send", "--jsonl", "-", "--fields", "line,answer", typed="hi\nhi\n")
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert results == [{"line": 1, "answer": ANSWER}, {"line": 2, "answer": ANSWER}]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("--fields", "payloda"), "Did you mean payload?"),
        (("--fields", "id", "--template", "{id}"), "exclude each other"),
        (("--fields", "id", "-o", "raw"), "-o raw has a form of its own"),
        (("--fields", "id", "--dry-run"), "--dry-run prints the exact message"),
    ],
)
def test_a_layout_that_makes_no_sense_sends_nothing(
    ann: Operator, line: tuple[str, ...], said: str
) -> None:
    done = ann.types("send", "hi", *line, "--url", "ws://127.0.0.1:9/ws")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    many = ann.types("send", "--jsonl", "-", "--fields", "anwser", typed="hi\n")
    assert "Did you mean answer?" in many.stderr
