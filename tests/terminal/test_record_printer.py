"""Records in every form, answers in one piece."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest

from megabot_cli.recording.record import Record
from megabot_cli.terminal.memory_console import MemoryConsole
from megabot_cli.terminal.record_printer import RecordForm, RecordPrinter


def chunk(text: str, sequence: int, *, last: bool = False, reply_to: str = "msg_1") -> Record:
    payload = {"chunk": text, "is_complete": last, "sequence": sequence}
    return record("chat_stream", payload, reply_to)


def record(kind: str, payload: dict[str, object], reply_to: str | None = None) -> Record:
    envelope = {"id": "msg_2", "type": kind, "payload": payload}
    return Record(
        n=1, t=0, kind="message", type=kind, session="sess_abcdefgh", reply_to=reply_to,
        direction="to_client", data=json.dumps(envelope),
    )  # fmt: skip


def said(lines: str) -> list[str]:
    """What stands behind the columns."""
    return [line[51:] for line in lines.splitlines()]


@pytest.mark.parametrize("form", ["line", "wide", "raw"])
@pytest.mark.parametrize("assemble", [False, True])
def test_many_look_as_one_by_one(form: RecordForm, assemble: bool) -> None:
    greeting = record("connection_established", {"session_id": "sess_abcdefgh"})
    records = [
        record("chat_send", {"content": "hello"}),
        Record(n=2, t=1_500, kind="gap", lost=3),
        greeting,
        msgspec.structs.replace(greeting, kind="inject"),
        chunk("Hel", 1),
        Record(n=3, t=999_999, kind="mark", note="here"),
        chunk("lo \x1b[2J", 2, last=True),
        Record(n=4, t=1_000_000, kind="message", data="\x1b]52;c;eA==\x07"),
        Record(n=5, t=1_000_001, kind="message", data_b64="AA==", opcode="binary"),
        Record(n=6, t=1_000_002, kind="message", size=7),
    ]
    one, many = MemoryConsole(), MemoryConsole()
    printer = RecordPrinter(one, form, assemble=assemble)
    for each in records:
        printer.show(each, 100.0 + each.t / 1e6)
    printer.end()
    printer = RecordPrinter(many, form, assemble=assemble)
    printer.show_many(records[:4], 100.0)
    printer.show_many(records[4:], 100.0)
    printer.end()
    assert (many.stdout, many.stderr) == (one.stdout, one.stderr)
    assert len(one.stdout.splitlines()) > 3


def test_raw_gives_the_exact_text() -> None:
    console = MemoryConsole()
    printer = RecordPrinter(console, "raw")
    printer.show(Record(n=1, t=0, kind="message", data='{"a" : 1}\x1b'), 0.0)
    printer.show(Record(n=2, t=0, kind="message", data_b64=base64.b64encode(b"\x00").decode()), 0.0)
    assert console.stdout == '{"a" : 1}\x1b\nAA==\n'


def test_raw_text_cannot_steer_a_terminal() -> None:
    console = MemoryConsole(terminal=True)
    RecordPrinter(console, "raw").show(Record(n=1, t=0, kind="message", data="\x1b[2J"), 0.0)
    assert console.stdout == "\\e[2J\n"


def test_json_gives_the_record_of_the_recording() -> None:
    console = MemoryConsole()
    RecordPrinter(console, "json").show(Record(n=7, t=5, kind="message", data="x\u202e"), 0.0)
    assert console.stdout == '{"n":7,"t":5,"kind":"message","data":"x\\u202e"}\n'


def test_a_loss_is_told_on_stderr_unless_events_are_wanted() -> None:
    gap = Record(n=1, t=0, kind="gap", lost=3)
    console = MemoryConsole()
    RecordPrinter(console, "line").show(gap, 0.0)
    assert (console.stdout, console.stderr) == ("", "warning: gap: 3 lost\n")
    console = MemoryConsole()
    fault = Record(n=1, t=0, kind="fault", note="\x1b]52;c;eA==\x07")
    RecordPrinter(console, "json").show(fault, 0.0)
    assert console.stderr == "warning: fault: \\e]52;c;eA==\\x07\n"
    console = MemoryConsole()
    RecordPrinter(console, "line", events=True).show(gap, 0.0)
    assert said(console.stdout) == ["3 lost"]


def test_an_assembled_answer_grows_on_one_line_and_is_not_repeated() -> None:
    console = MemoryConsole()
    printer = RecordPrinter(console, "line", assemble=True)
    for each in (chunk("Hel", 1), chunk("lo", 2), chunk("", 3, last=True)):
        printer.show(each, 0.0)
    printer.show(record("chat_receive", {"content": "Hello"}, "msg_1"), 0.0)
    printer.end()
    assert said(console.stdout) == ["Hello"]


def test_an_answer_that_differs_from_its_chunks_is_shown() -> None:
    console = MemoryConsole()
    printer = RecordPrinter(console, "line", assemble=True)
    printer.show(chunk("Hello", 1, last=True), 0.0)
    printer.show(record("chat_receive", {"content": "Other"}, "msg_1"), 0.0)
    assert said(console.stdout) == ["Hello", "Other"]


def test_two_answers_at_once_do_not_mix() -> None:
    console = MemoryConsole()
    printer = RecordPrinter(console, "line", assemble=True)
    printer.show(chunk("one ", 1, reply_to="a"), 0.0)
    printer.show(chunk("two ", 1, reply_to="b"), 0.0)
    printer.show(chunk("end", 2, last=True, reply_to="a"), 0.0)
    printer.show(chunk("end", 2, last=True, reply_to="b"), 0.0)
    printer.end()
    assert said(console.stdout) == ["one ", "two ", "end", "end"]


def test_another_message_interrupts_an_answer_on_a_line_of_its_own() -> None:
    console = MemoryConsole()
    printer = RecordPrinter(console, "line", assemble=True)
    printer.show(chunk("one ", 1), 0.0)
    printer.show(record("notification", {"title": "news"}), 0.0)
    printer.show(chunk("end", 2, last=True), 0.0)
    assert said(console.stdout) == ["one ", "news", "end"]


def test_a_chunk_that_is_none_is_shown_as_it_is() -> None:
    console = MemoryConsole()
    printer = RecordPrinter(console, "line", assemble=True)
    printer.show(record("chat_stream", {"chunk": 3}), 0.0)
    assert said(console.stdout) == ['{"chunk":3}']


def greeting(kind: str, session: str) -> Record:
    text = json.dumps({"type": "connection_established", "payload": {"session_id": session}})
    return Record(
        n=1, t=0, kind=kind, type="connection_established", session=session,
        direction="to_client", data=text,
    )  # fmt: skip


def test_a_greeting_that_the_relay_passes_on_is_one_line() -> None:
    passed_on = [greeting("message", "sess_1"), greeting("inject", "sess_1")]
    later = greeting("inject", "sess_1")
    console = MemoryConsole()
    printer = RecordPrinter(console, "line")
    for each in (*passed_on, later):
        printer.show(each, 0.0)
    arrows = [line.split()[1] for line in console.stdout.splitlines()]
    assert arrows == ["←", "⇠"], "the upstream's, and what the relay said to a later client"
    forms: tuple[tuple[RecordForm, bool], ...] = (("json", False), ("line", True))
    for form, events in forms:
        console = MemoryConsole()
        printer = RecordPrinter(console, form, events=events)
        for each in passed_on:
            printer.show(each, 0.0)
        assert len(console.stdout.splitlines()) == 2


def assembled(*records: Record, cuts_answers: bool = False) -> list[str]:
    console = MemoryConsole()
    printer = RecordPrinter(console, "line", assemble=True, cuts_answers=cuts_answers)
    for each in records:
        printer.show(each, 0.0)
    printer.end()
    assert console.stderr == ""
    return said(console.stdout)


def test_an_assembled_answer_says_which_chunks_did_not_come() -> None:
    hole = (chunk("one ", 1), chunk("four", 4, last=True))
    assert assembled(*hole) == ["one four (2 chunks of the answer did not come)"]
    assert assembled(*hole, cuts_answers=True) == ["one four (2 chunks of the answer are not here)"]
    filled = (chunk("one ", 1), chunk("3", 3), chunk("two ", 2), chunk("", 4, last=True))
    assert assembled(*filled) == ["one two 3"]


def test_who_looks_on_from_the_middle_misses_the_beginning_and_no_more() -> None:
    records = (chunk("two ", 2), chunk("three", 3, last=True))
    assert assembled(*records) == ["two three (1 chunk of the answer is not here)"]


def test_what_is_missing_is_said_of_the_answer_that_misses_it() -> None:
    records = (
        chunk("one ", 1), record("notification", {"title": "news"}), chunk("", 3, last=True),
    )  # fmt: skip
    assert assembled(*records) == ["one ", "news", " (1 chunk of the answer did not come)"]


def test_chunks_that_a_relay_has_joined_are_not_missing() -> None:
    joined = chunk("two three ", 3)
    envelope = {**json.loads(joined.data or ""), "metadata": {"merged": 2}}
    joined = msgspec.structs.replace(joined, data=json.dumps(envelope))
    console = MemoryConsole()
    printer = RecordPrinter(console, "line", assemble=True)
    printer.show(chunk("one ", 1), 0.0)
    printer.show(joined, 0.0)
    assert console.stdout.endswith("one two three ")  # before the last has come
    printer.show(chunk("four", 4, last=True), 0.0)
    assert said(console.stdout) == ["one two three four"]
