"""Chunks in any order become one text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.protocol.envelope import Head, HeadMetadata
from megabot_cli.protocol.messages import ChatStream
from megabot_cli.protocol.streams import Fault, Step, Stream, StreamTable, joined_in, stream_key

ANSWER = Head("m", "chat_stream", HeadMetadata(reply_to="asked"))
CURRENT = Head("m", "chat_stream")


def chunk(
    sequence: int, text: str = "", *, last: bool = False, stream_id: str | None = None
) -> ChatStream:
    return ChatStream(text or f"<{sequence}>", last, sequence, stream_id)


# -- one stream ---------------------------------------------------------------------------------


def test_chunks_in_order_are_ready_at_once() -> None:
    stream = Stream()
    assert stream.add(ChatStream("Hel", False, 1)) == Step("Hel", finished=False)
    assert stream.add(ChatStream("lo", False, 2)) == Step("lo", finished=False)
    assert stream.add(ChatStream("!", True, 3)) == Step("!", finished=True)
    assert (stream.text, stream.holes, stream.repeats) == ("Hello!", 0, 0)


def test_the_last_chunk_may_be_empty() -> None:
    stream = Stream()
    stream.add(ChatStream("all", False, 1))
    assert stream.add(ChatStream("", True, 2)) == Step("", finished=True)
    assert stream.text == "all"


def test_an_answer_may_be_one_chunk() -> None:
    assert Stream().add(ChatStream("yes", True, 1)) == Step("yes", finished=True)


def test_text_beyond_a_hole_waits_until_it_is_filled() -> None:
    stream = Stream()
    stream.add(chunk(1))
    assert stream.add(chunk(3)) == Step("", finished=False, fault=Fault.HOLE)
    assert stream.add(chunk(4)) == Step("", finished=False)
    assert stream.text == "<1><3><4>"
    assert stream.add(chunk(2)) == Step("<2><3><4>", finished=False)
    assert stream.holes == 1


def test_what_is_missing_is_counted_until_it_comes() -> None:
    stream = Stream()
    for sequence, missing in ((1, 0), (4, 2), (4, 2), (2, 1), (6, 2), (3, 1), (5, 0)):
        stream.add(chunk(sequence))
        assert stream.missing == missing
        assert not stream.lacks_its_beginning


def test_a_beginning_that_was_not_seen_is_told_from_a_hole() -> None:
    stream = Stream()
    stream.add(chunk(3))
    stream.add(chunk(4))
    assert (stream.missing, stream.lacks_its_beginning) == (2, True)
    stream.add(chunk(6))
    assert (stream.missing, stream.lacks_its_beginning) == (3, False)


def test_joined_chunks_leave_no_hole() -> None:
    stream = Stream()
    assert stream.add(chunk(3, "abc"), 3) == Step("abc", finished=False)
    assert stream.add(chunk(7, "efg"), 3) == Step("", finished=False, fault=Fault.HOLE)
    assert stream.missing == 1
    assert stream.add(chunk(4, "d"), 1) == Step("defg", finished=False)
    assert stream.add(chunk(7, "efg"), 3).fault is Fault.REPEAT
    assert stream.add(chunk(8, "", last=True)) == Step("<8>", finished=True)
    assert (stream.missing, stream.text) == (0, "abcdefg<8>")


@pytest.mark.parametrize(
    ("metadata", "joined"),
    [
        ('{"merged":3}', 3), ('{"merged":0}', 1), ('{"merged":-2}', 1), ('{"merged":"3"}', 1),
        ('{"merged":null}', 1), ('{"of":"merged"}', 1), ('["merged"]', 1), ('"merged"', 1),
        ('{"merged":', 1),
    ],
)  # fmt: skip
def test_how_many_are_joined_stands_in_the_metadata(metadata: str, joined: int) -> None:
    text = f'{{"type":"chat_stream","metadata":{metadata}}}'
    assert joined_in(text) == joined_in(text.encode()) == joined


def test_a_hole_is_told_once_and_each_hole_is_told() -> None:
    stream = Stream()
    faults = [stream.add(chunk(n)).fault for n in (2, 3, 5, 6, 1, 4)]
    assert faults == [Fault.HOLE, None, Fault.HOLE, None, None, None]
    assert stream.holes == 2


def test_a_repeat_is_told_and_its_text_not_taken() -> None:
    stream = Stream()
    stream.add(chunk(1))
    assert stream.add(chunk(1, "again")) == Step("", finished=False, fault=Fault.REPEAT)
    stream.add(chunk(3))
    assert stream.add(chunk(3, "again")).fault is Fault.REPEAT
    assert (stream.text, stream.repeats) == ("<1><3>", 2)


def test_a_repeat_may_end_the_answer() -> None:
    stream = Stream()
    stream.add(chunk(1))
    stream.add(chunk(3))
    assert stream.add(chunk(1, last=True)) == Step("<3>", finished=True, fault=Fault.REPEAT)
    assert stream.text == "<1><3>"


def test_the_end_brings_what_waited_beyond_a_hole() -> None:
    stream = Stream()
    stream.add(chunk(1))
    stream.add(chunk(3))
    assert stream.add(chunk(5, last=True)) == Step("<3><5>", finished=True, fault=Fault.HOLE)
    assert stream.text == "<1><3><5>"


def test_a_chunk_after_the_end_is_late_and_ends_nothing_again() -> None:
    stream = Stream()
    stream.add(chunk(2, last=True))
    for late in (chunk(1), chunk(3), chunk(2, last=True)):
        assert stream.add(late) == Step("", finished=False, fault=Fault.LATE)
    assert stream.text == "<2>"


chunks = st.lists(
    st.builds(
        ChatStream,
        chunk=st.text(max_size=5),
        is_complete=st.just(False),
        sequence=st.integers(min_value=1, max_value=12),
    ),
    max_size=30,
)


@given(chunks, st.integers(min_value=1, max_value=14), chunks)
def test_any_chunks_in_any_order_with_holes_and_repeats_make_the_text_in_sequence_order(
    before: list[ChatStream], last: int, after: list[ChatStream]
) -> None:
    end = ChatStream("end", True, last)
    stream, first_seen = Stream(), dict[int, str]()
    steps = []
    for one in [*before, end]:
        first_seen.setdefault(one.sequence, one.chunk)
        steps.append(stream.add(one))
        assert stream.text == "".join(first_seen[n] for n in sorted(first_seen))
        assert stream.text.startswith("".join(step.ready for step in steps))
    steps.extend(stream.add(late) for late in after)
    assert "".join(step.ready for step in steps) == stream.text
    assert [step.finished for step in steps].count(True) == 1
    assert stream.repeats == [step.fault for step in steps].count(Fault.REPEAT)
    assert stream.holes == [step.fault for step in steps].count(Fault.HOLE)
    assert len(before) + 1 == len(first_seen) + stream.repeats


@given(st.lists(st.text(max_size=5), min_size=1, max_size=15), st.randoms(use_true_random=False))
def test_any_order_that_ends_with_the_last_chunk_gives_the_whole_text(
    pieces: list[str], chance: object
) -> None:
    numbered = list(enumerate(pieces, start=1))
    *body, last = numbered
    chance.shuffle(body)  # type: ignore[attr-defined]
    stream = Stream()
    for sequence, piece in body:
        assert not stream.add(ChatStream(piece, False, sequence)).finished
    assert stream.add(ChatStream(last[1], True, last[0])).finished
    assert stream.text == "".join(pieces)


def test_a_sequence_number_of_any_size_is_a_place_in_the_order() -> None:
    stream = Stream()
    stream.add(chunk(10**30, "last"))
    stream.add(chunk(10**29, "before "))
    assert stream.text == "before last"


# -- which chunks belong together ---------------------------------------------------------------


def test_the_first_rule_that_applies_names_the_answer() -> None:
    both = Head("m", "chat_stream", HeadMetadata(session_id="s", reply_to="r"))
    assert stream_key(both, chunk(1, stream_id="x")) == "reply_to:r"
    session = Head("m", "chat_stream", HeadMetadata(session_id="s", reply_to=""))
    assert stream_key(session, chunk(1, stream_id="x")) == "stream_id:x"
    assert stream_key(session, chunk(1)) == "session:s"
    assert stream_key(CURRENT, chunk(1)) == "session:"


def test_names_of_different_kinds_never_meet() -> None:
    heads = [
        Head(metadata=HeadMetadata(reply_to="a")),
        Head(metadata=HeadMetadata(session_id="a")),
        Head(),
    ]
    keys = [stream_key(head, chunk(1)) for head in heads]
    keys.append(stream_key(Head(), chunk(1, stream_id="a")))
    assert len(set(keys)) == 4


def test_answers_that_interleave_stay_apart() -> None:
    table = StreamTable()
    heads = [Head(metadata=HeadMetadata(reply_to=name)) for name in "ab"]
    for sequence in (1, 2, 3):
        for head, name in zip(heads, "ab", strict=True):
            key, stream, step = table.add(head, chunk(sequence, name, last=sequence == 3))
    assert (key, stream.text, step.finished) == ("reply_to:b", "bbb", True)
    assert len(table) == 0


def test_a_late_chunk_begins_no_new_answer() -> None:
    table = StreamTable()
    table.add(ANSWER, chunk(1))
    table.add(ANSWER, chunk(3, last=True))
    for late in (chunk(2), chunk(3, last=True), chunk(4)):
        _, stream, step = table.add(ANSWER, late)
        assert step == Step("", finished=False, fault=Fault.LATE)
        assert stream.text == ""
    assert len(table) == 0


def test_a_first_chunk_begins_another_answer_under_the_same_name() -> None:
    table = StreamTable()
    for text in ("one", "two"):
        _, stream, step = table.add(ANSWER, chunk(1, text))
        assert (stream.text, step.fault) == (text, None)
        _, stream, step = table.add(ANSWER, chunk(2, "!", last=True))
        assert (stream.text, step.finished) == (text + "!", True)


def test_an_answer_whose_first_chunk_was_missed_is_told_with_a_hole() -> None:
    table = StreamTable()
    _, stream, step = table.add(ANSWER, chunk(5))
    assert step.fault is Fault.HOLE
    assert stream.text == "<5>"


def test_the_current_stream_goes_on_to_the_next_answer_past_a_missed_first_chunk() -> None:
    table = StreamTable()
    table.add(CURRENT, chunk(1))
    table.add(CURRENT, chunk(2, last=True))
    assert table.add(CURRENT, chunk(2))[2].fault is Fault.LATE
    _, stream, step = table.add(CURRENT, chunk(3, last=True))
    assert (stream.text, step.finished, step.fault) == ("<3>", True, Fault.HOLE)


def test_the_answer_silent_longest_is_let_go_beyond_the_limit() -> None:
    table = StreamTable(limit=2)
    heads = {name: Head(metadata=HeadMetadata(reply_to=name)) for name in "abc"}
    table.add(heads["a"], chunk(1))
    table.add(heads["b"], chunk(1))
    table.add(heads["a"], chunk(2))
    table.add(heads["c"], chunk(1))
    assert len(table) == 2
    assert table.add(heads["a"], chunk(3))[1].text == "<1><2><3>"
    assert table.add(heads["b"], chunk(2))[1].text == "<2>"


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdef"),
            st.integers(min_value=1, max_value=5),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_any_traffic_finishes_each_answer_once_and_stays_within_the_limit(
    traffic: list[tuple[str, int, bool]],
) -> None:
    roomy, small, shown = StreamTable(), StreamTable(limit=3), dict[str, str]()
    for name, sequence, last in traffic:
        head = Head(metadata=HeadMetadata(reply_to=name))
        small.add(head, chunk(sequence, last=last))
        assert len(small) <= 3
        key, stream, step = roomy.add(head, chunk(sequence, last=last))
        if step.fault is Fault.LATE:
            assert step == Step("", finished=False, fault=Fault.LATE)
            assert key not in shown
            continue
        shown[key] = shown.get(key, "") + step.ready
        assert stream.text.startswith(shown[key])
        if step.finished:
            assert stream.text == shown.pop(key)
    assert len(roomy) == len(shown)
