from __future__ import annotations

import msgspec
import pytest

from megabot_cli.errors import WrongUsage
from megabot_cli.recording.bounds import Place
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection

RECORD = Record(
    n=1,
    t=1_500_000,
    kind="message",
    direction="to_client",
    client="client_1",
    link="link_1",
    session="sess_1",
    user="ann",
    id="m1",
    type="chat_stream",
    data='{"payload":{"chunk":"hello"}}',
)


@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(types=("chat_*",)),
        Selection(types=("status_update", "chat_stream")),
        Selection(kinds=("mess*",), direction="to_client"),
        Selection(sessions=("sess_0", "sess_1"), clients=("client_1",), users=("ann",)),
        Selection(links=("link_1",), grep="hel+o"),
        Selection(from_us=1_500_000, until_us=1_500_001),
        Selection(ids=("m0", "m1"), where='payload.chunk == "hello"'),
    ],
)
def test_a_record_that_fits_every_word_is_wanted(selection: Selection) -> None:
    assert selection.matches(RECORD)


@pytest.mark.parametrize(
    "selection",
    [
        Selection(types=("chat_s",)),
        Selection(types=("chat_*",), direction="to_upstream"),
        Selection(kinds=("open",)),
        Selection(sessions=("sess_2",)),
        Selection(clients=("client_2",)),
        Selection(links=("link_2",)),
        Selection(users=("bob",)),
        Selection(grep="goodbye"),
        Selection(ids=("m2",)),
        Selection(where='payload.chunk == "goodbye"'),
        Selection(from_us=1_500_001),
        Selection(until_us=1_500_000),
    ],
)
def test_a_record_that_misses_one_word_is_not(selection: Selection) -> None:
    assert not selection.matches(RECORD)


def test_a_pattern_that_is_none_is_wrong_usage_that_names_the_place() -> None:
    with pytest.raises(WrongUsage, match="character 4"):
        Selection(grep="abc(").matcher()


def test_only_an_empty_selection_is_everything() -> None:
    assert Selection().everything
    assert not Selection(from_us=0).everything


def chosen(selection: Selection, records: list[Record], started_at_s: float = 0.0) -> list[int]:
    chooser = selection.chooser(started_at_s)
    found: list[int] = []
    for record in records:
        found += [each.n for each, _ in chooser.offer(record)]
        if chooser.finished:
            break
    return found


def of_types(types: str) -> list[Record]:
    """One record a letter, a second apart."""
    return [
        Record(n=place + 1, t=place * 1_000_000, kind="message", type=letter)
        for place, letter in enumerate(types)
    ]


def test_from_and_until_are_places_the_first_included_the_second_not() -> None:
    records = of_types("aaaaaa")
    assert chosen(Selection(begin=Place("number", 3)), records) == [3, 4, 5, 6]
    between = Selection(begin=Place("offset", 1_500_000), until=Place("offset", 4_000_000))
    assert chosen(between, records) == [3, 4]
    by_wall = Selection(until=Place("wall", 102_000_000))
    assert chosen(by_wall, records, started_at_s=100.0) == [1, 2]


def test_a_mark_is_a_place_too() -> None:
    records = of_types("aaaa")
    records[1] = Record(n=2, t=1, kind="mark", note="begin")
    records[3] = Record(n=4, t=3, kind="mark", note="end")
    marked = Selection(begin=Place("mark", name="begin"), until=Place("mark", name="end"))
    assert chosen(marked, records) == [2, 3]


def test_a_limit_counts_what_was_wanted_and_then_it_is_over() -> None:
    chooser = Selection(types=("b",), limit=2).chooser()
    given = [bool(chooser.offer(record)) for record in of_types("abab")]
    assert given == [False, True, False, True]
    assert chooser.finished


@pytest.mark.parametrize(
    ("types", "shown"),
    [
        ("....b....", [3, 4, 5, 6, 7]),
        ("b........", [1, 2, 3]),
        ("..b.b....", [1, 2, 3, 4, 5, 6, 7]),
        ("b......b.", [1, 2, 3, 6, 7, 8, 9]),
    ],
)
def test_around_gives_the_neighbours_each_of_them_once(types: str, shown: list[int]) -> None:
    assert chosen(Selection(types=("b",), around=2), of_types(types)) == shown


def test_what_is_of_no_kind_that_is_asked_for_takes_no_place_beside_another() -> None:
    records = of_types("..o.b..o.o..")
    for record in records:
        record.kind = "open" if record.type == "o" else "message"
    assert chosen(Selection(types=("b",), around=2), records) == [3, 4, 5, 6, 7]
    messages = Selection(types=("b",), around=2).of_messages()
    assert chosen(messages, records) == [2, 4, 5, 6, 7]
    three = Selection(types=("b",), around=3, limit=1).of_messages()
    assert chosen(three, records) == [1, 2, 4, 5, 6, 7, 9]


def test_the_last_of_a_limit_has_its_neighbours_too() -> None:
    records = of_types("..b....b..")
    assert chosen(Selection(types=("b",), around=1, limit=1), records) == [2, 3, 4]


def test_the_texts_to_look_for_are_those_that_stand_in_a_line_as_they_are() -> None:
    wanted = Selection(types=("a", "b"), sessions=("sess_1",), grep="needle", ids=('quo"ted',))
    found = [literals.texts for literals in wanted.matcher().literals()]
    assert found == [('sess_1"',), ("needle",), ('"a"', '"b"')]
    assert Selection(types=("a*",), grep="a.c", clients=("größe",)).matcher().literals() == []


def test_who_asks_for_what_only_events_have_is_shown_events() -> None:
    assert Selection(where="kind == 'close'").asks_for_events
    assert not Selection(where="type == 'error'").asks_for_events
    assert Selection().of_messages().kinds == ("message", "inject", "gap", "drop", "fault")


SHOWN = msgspec.structs.replace(RECORD, session="ws_01k9zq7v8q3r8g", client="cl_01k9zq7v8q3r8h")


@pytest.mark.parametrize(
    "selection",
    [
        Selection(sessions=("7v8q3r8g",)),
        Selection(sessions=("ws_01k9*",)),
        Selection(clients=("zq7v8q3r8h", "cl_2")),
        Selection(clients=("*r8h",), sessions=("ws_01k9zq7v8q3r8g",)),
    ],
)
def test_an_id_may_be_given_as_a_glob_or_by_its_end(selection: Selection) -> None:
    assert selection.matches(SHOWN)


@pytest.mark.parametrize(
    "selection",
    [
        Selection(sessions=("3r8g",)),  # too short an end
        Selection(sessions=("7v8q3r8",)),  # no end
        Selection(sessions=("01k9*",)),
        Selection(clients=("7v8q3r8g",)),
        Selection(users=("a*",)),
        Selection(links=("*",), sessions=("7v8q3r8h",)),
    ],
)
def test_what_is_neither_end_nor_like_is_another_id(selection: Selection) -> None:
    assert not selection.matches(SHOWN)


def test_the_end_of_an_id_is_sought_in_the_line_and_a_glob_is_not() -> None:
    by_end = Selection(sessions=("7v8q3r8g", "sess_")).matcher().literals()
    assert [each.texts for each in by_end] == [('7v8q3r8g"', '"sess_"')]
    assert by_end[0].as_we_write() == ('7v8q3r8g"', '"session":"sess_"')
    assert Selection(sessions=("*7v8q3r8g",)).matcher().literals() == []
