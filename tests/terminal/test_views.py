"""How records and tables look."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from megabot_cli.recording.record import Record
from megabot_cli.terminal.memory_console import MemoryConsole
from megabot_cli.terminal.text import display_width
from megabot_cli.terminal.views import (
    RecordLines,
    hue,
    print_facts,
    print_table,
    size,
    what_it_says,
)
from megabot_cli.wording import counted


def message(payload: Any, **fields: Any) -> Record:
    fields = {"type": "chat_send", "direction": "to_upstream", **fields}
    data = json.dumps({"id": "msg_1", "type": fields["type"], "payload": payload})
    return Record(n=1, t=0, kind="message", session="sess_0123456789abcdef", data=data, **fields)


def test_a_table_is_aligned_and_its_cells_harmless() -> None:
    console = MemoryConsole()
    print_table(console, ("name", "value"), [("a", "\x1b[31m1"), ("longer", "你好"), ("x", "")])
    assert console.stdout == "name    value\na       \\e[31m1\nlonger  你好\nx\n"


@pytest.mark.parametrize("width", [8, 13, 20])
def test_a_table_gives_way_to_the_width_of_the_terminal(width: int) -> None:
    console = MemoryConsole(terminal=True, width=width)
    print_table(console, ("name", "value"), [("a" * 10, "b" * 40)])
    assert max(len(line) for line in console.stdout.splitlines()) <= width


def test_columns_that_find_no_room_are_left_out_whole_and_named() -> None:
    console = MemoryConsole(terminal=True, width=24)
    print_table(console, ("name", "state", "waiting", "link"), [("a" * 10, "up", "0", "b" * 20)])
    assert [line.split() for line in console.stdout.splitlines()] == [
        ["name", "state"],
        ["a" * 10, "up"],
    ]
    assert console.stderr == ("not shown for want of\nroom: waiting, link;\n--json has all\n")


def test_a_column_that_gave_way_gets_the_room_of_those_that_were_left_out() -> None:
    console = MemoryConsole(terminal=True, width=40)
    row = ("s" * 10, "f" * 60, "1", "l" * 20)
    print_table(console, ("session", "fault", "clients", "link"), [row], flexible=1)
    assert console.stdout.splitlines()[1].split() == ["s" * 10, "f" * 18 + "…", "1"]
    assert "room: link;" in console.stderr


def test_a_fact_that_is_long_goes_on_below_itself_on_a_terminal() -> None:
    facts = [("a", "x"), ("name", "value " * 8 + "end")]
    pipe, terminal = MemoryConsole(), MemoryConsole(terminal=True, width=40)
    for console in (pipe, terminal):
        print_facts(console, facts)
    assert pipe.stdout == f"a     x\nname  {facts[1][1]}\n"
    assert terminal.stdout == f"a     x\nname  {'value ' * 5}".rstrip() + (
        f"\n      {'value ' * 3}end\n"
    )


def test_a_record_takes_one_line_whatever_is_in_it() -> None:
    line = RecordLines(MemoryConsole()).line(message({"content": "a\nb\x1b[2J"}), 0.0)
    assert "\n" not in line
    assert line.endswith("→  chat_send               89abcdef  a\\nb\\e[2J")


_hostile = st.text(st.sampled_from('ab \x00\x1b\x7f\x9b\\"\n\u202eé{}'), max_size=12)


@given(
    text=_hostile,
    reason=_hostile,
    form=st.sampled_from(["whole", "content", "chunk", "other", "escaped"]),
    kind=st.sampled_from(["message", "inject", "fault", "gap", "later"]),
)
@example(text="{}", reason="\x1b[2J", form="whole", kind="fault")
@example(text="\x1b[2J", reason="", form="whole", kind="message")
@example(text="{\x1b", reason="", form="other", kind="message")
def test_no_record_steers_a_terminal(text: str, reason: str, form: str, kind: str) -> None:
    data = {
        "whole": text,
        "content": json.dumps({"payload": {"content": text}}, ensure_ascii=False),
        "chunk": json.dumps({"payload": {"chunk": text}}),
        "other": f'{{"payload": {{"other": "{text}"}}}}',
        "escaped": json.dumps({"payload": {text: [text]}}, ensure_ascii=False),
    }[form]
    record = Record(n=1, t=0, kind=kind, data=data, reason=reason)
    assert RecordLines(MemoryConsole()).line(record, 0.0).isprintable()


def test_the_columns_of_any_two_records_are_aligned() -> None:
    console = MemoryConsole()
    lines = [
        RecordLines(console).line(message({"content": "x"}), 0.0),
        RecordLines(console).line(message({"x": 1}, type="t" * 50, direction="to_client"), 0.0),
        RecordLines(console).line(Record(n=1, t=0, kind="close", reason="done"), 0.0),
    ]
    assert [line.find(end) for line, end in zip(lines, ("x", "{", "done"), strict=True)] == [51] * 3


def test_a_line_is_cut_only_on_a_terminal() -> None:
    record = message({"content": "x" * 500})
    assert len(RecordLines(MemoryConsole(terminal=True, width=90)).line(record, 0.0)) <= 90
    assert RecordLines(MemoryConsole()).line(record, 0.0).endswith("x" * 500)


@pytest.mark.parametrize("width", [45, 60, 63, 64, 80])
def test_a_line_keeps_to_a_narrow_terminal_and_the_text_is_still_seen(width: int) -> None:
    console = MemoryConsole(terminal=True, width=width)
    lines = RecordLines(console)
    for record in (message({"content": "hello " * 20}), Record(n=1, t=0, kind="close", code=1006)):
        line = lines.line(record, 0.0)
        assert display_width(line) <= width
        assert ("hello" if record.data else "1006") in line
    console.width = 200  # resized
    assert "89abcdef" in lines.line(message({"content": "x"}), 0.0)


def test_on_a_narrow_terminal_a_source_is_known_by_its_end() -> None:
    record, source = message({"content": "x" * 500}), "rec_1m8gp5avhrajfs36q"
    line = RecordLines(MemoryConsole(terminal=True, width=80)).line(record, 0.0, source)
    assert len(line) == 80
    assert line.startswith("[…rajfs36q] ")
    assert RecordLines(MemoryConsole()).line(record, 0.0, source).startswith(f"[{source}] ")


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (message({"content": "hello"}), "hello"),
        (message({"chunk": "hel", "sequence": 1}), "hel"),
        (message({"other": 1}), '{"other":1}'),
        (message({"code": 503, "message": "Busy.", "error": "busy"}), "503 Busy."),
        (message({"code": True, "message": "Busy."}), "Busy."),
        (message({"code": "E1", "other": 1}), '{"code":"E1","other":1}'),
        (Record(n=1, t=0, kind="message", data='{"code":4,"message":"no"}'), "4 no"),
        (message({"status": "failed", "output": "No such tool."}), "failed: No such tool."),
        (message({"status": "completed", "output": None, "result": 1}), "completed"),
        (message("text"), '"text"'),
        (Record(n=1, t=0, kind="message", data="no json"), "no json"),
        (Record(n=1, t=0, kind="message", data='{"type":"message","content":"hi"}'), "hi"),
        (Record(n=1, t=0, kind="message", data_b64="AAA=", size=2), "binary, 2 B"),
        (Record(n=1, t=0, kind="message", opcode="binary", size=2), "binary, 2 B"),
        (Record(n=1, t=0, kind="message", size=2), "left out, 2 B"),
        (Record(n=1, t=0, kind="close", code=1006, by="upstream"), "1006, by upstream"),
        (Record(n=1, t=0, kind="gap", lost=3), "3 lost"),
    ],
)
def test_the_telling_part_of_a_record_is_shown(record: Record, said: str) -> None:
    assert what_it_says(record) == said


def test_a_name_keeps_its_colour() -> None:
    assert hue("sess_1") == hue("sess_1")


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 40, "1024.0 GiB")]
)
def test_sizes_read_as_people_say_them(count: int, shown: str) -> None:
    assert size(count) == shown


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 days"), (1, "1 day"), (1.4, "1 day"), (0.4, "0 days"), (2, "2 days")]
)
def test_one_of_a_thing_is_no_plural(count: float, said: str) -> None:
    assert counted(count, "day") == said
