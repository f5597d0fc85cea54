"""`--around`: a replay sends what clients said beside what was chosen, too."""

from __future__ import annotations

from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from megabot_cli.recording.bounds import Place
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.replay.conversation import Conversation, read_conversation
from megabot_cli.replay.options import ReplayOptions
from megabot_cli.storage.choosing import choose
from megabot_cli.storage.recording_reader import open_recording
from tests.replay.conftest import write_recording
from tests.replay.records import came, sent
from tests.replay.texts import answer, say

KINDS = st.lists(st.sampled_from(["asked", "answered", "error", "mark"]), max_size=30)


def recorded(folder: Path, kinds: list[str]) -> Path:
    records: list[Record] = []
    asked = 0
    for n, kind in enumerate(kinds, start=1):
        if kind == "asked":
            asked = n
            records.append(sent(n, say(f"{n}", f"m{n}"), t=n))
        elif kind == "mark":
            records.append(Record(n=n, t=n, kind="mark", note=f"at {n}"))
        else:
            told = came(n, answer(f"{n}", reply_to=f"m{asked}"))
            told.type = "connection_error" if kind == "error" else "chat_receive"
            records.append(told)
    return write_recording(folder / "x.jsonl", records)


def read(path: Path, selection: Selection, **options: int) -> Conversation:
    with open_recording(path) as reader:
        return read_conversation(reader, ReplayOptions(selection=selection, **options))  # type: ignore[arg-type]


def test_what_led_to_an_error_is_sent(tmp_path: Path) -> None:
    kinds = ["asked", "answered"] * 5 + ["asked", "error", "mark"] + ["asked", "answered"] * 5
    path = recorded(tmp_path, kinds)
    errors = Selection(types=("connection_error",))
    assert read(path, errors).messages == []
    found = read(path, Selection(types=("connection_error",), around=3))
    assert [each.n for each in found.to_send()] == [9, 11, 14, 16]  # the mark takes no place
    assert [len(found.answers[each.place].parts) for each in found.to_send()] == [1, 1, 1, 1]
    assert [mark.n for mark in found.marks] == [13]
    first = read(path, Selection(types=("connection_error",), around=3), limit=1)
    assert [each.n for each in first.to_send()] == [9]


@settings(deadline=None)
@example(["asked", "error", "mark", "answered"], 4, 0, 3)  # an answer from beyond the bound
@given(KINDS, st.integers(0, 4), st.integers(0, 12), st.integers(0, 31))
def test_a_replay_chooses_what_show_chooses(
    tmp_path_factory: object, kinds: list[str], around: int, begin: int, until: int
) -> None:
    folder: Path = tmp_path_factory.mktemp("around")  # type: ignore[attr-defined]
    path = recorded(folder, kinds)
    wanted = Selection(
        types=("connection_error",),
        begin=Place("number", begin),
        until=Place("number", until),
        around=around,
    )
    with open_recording(path) as reader:
        chosen = [record for record, _ in choose(reader, wanted.of_messages())]
    found, everything = read(path, wanted), read(path, Selection())
    expected = [each.n for each in chosen if each.direction == "to_upstream"]
    assert [each.n for each in found.messages] == expected
    answers = {each.n: everything.answers[each.place] for each in everything.messages}
    for each in found.messages:
        parts = [part.payload for part in found.answers[each.place].parts]
        assert parts == [part.payload for part in answers[each.n].parts]
