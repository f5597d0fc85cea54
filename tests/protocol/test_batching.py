"""Several messages in one, and each of them out again as it was."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.protocol.batching import Batcher, unwrap, wrap
from megabot_cli.protocol.envelope import peek, wire_size
from megabot_cli.protocol.messages import MAX_BATCH
from megabot_cli.protocol.validation import check
from tests.protocol.arbitrary import anything, json_texts, valid_messages
from tests.protocol.samples import message
from tests.protocol.specification_texts import EXAMPLES

BATCH = wrap([message("chat_send"), message("chat_send")], "b", 0)
EMPTY_CHAT = '{"id":"m","type":"chat_send","payload":{}}'
FOREIGN = '{"type":"message","content":"hi"}'


def numbered(number: int, filler: str = "") -> str:
    return f'{{"id":"m{number}","type":"note","payload":"{filler}"}}'


# -- wrap and unwrap ----------------------------------------------------------------------------


def test_several_messages_become_one_of_type_batch() -> None:
    text = wrap([EXAMPLES["chat_send"], EXAMPLES["tool_call"]], "msg_9", 1640995200.5)
    fields = json.loads(text)
    assert (fields["id"], fields["type"], fields["timestamp"]) == ("msg_9", "batch", 1640995200.5)
    assert [inner["type"] for inner in fields["payload"]["messages"]] == ["chat_send", "tool_call"]
    assert check(text) is None


def test_one_message_goes_alone_unwrapped() -> None:
    assert wrap([EXAMPLES["chat_send"]], "msg_9", 0) == EXAMPLES["chat_send"]


def test_a_batch_of_nothing_is_not_made() -> None:
    with pytest.raises(ValueError, match="at least one"):
        wrap([], "msg_9", 0)


@given(
    st.lists(json_texts(valid_messages), min_size=2, max_size=8),
    st.text(min_size=1, max_size=10),
    st.floats(min_value=0, max_value=4e9),
)
def test_any_messages_come_out_of_a_batch_as_they_went_in(
    texts: list[str], message_id: str, at: float
) -> None:
    batch = wrap(texts, message_id, at)
    assert unwrap(batch) == texts
    assert unwrap(batch.encode()) == texts
    assert check(batch) is None
    head = peek(batch)
    assert head is not None
    assert (head.id, head.type) == (message_id, "batch")


def test_white_space_around_a_message_is_not_part_of_it() -> None:
    texts = [f"\n {EXAMPLES['chat_send']} ", EXAMPLES["tool_call"]]
    assert unwrap(wrap(texts, "b", 0)) == [text.strip() for text in texts]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"id":"m","type":"batch"}',
        '{"id":"m","type":"batch","payload":{"messages":{}}}',
        '{"id":"m","type":"chat_send","payload":{"messages":[1]}}',
        '{"id":"m","payload":{"messages":[1]}}',
        b'{"id":"m","type":"batch","payload":{"messages":["\xff"]}}',
        '{"id":"m","type":"batch","payload":{"messages":["\ud800"]}}',
    ],
)
def test_what_is_no_batch_holds_no_messages(text: bytes | str) -> None:
    assert unwrap(text) == []


@given(anything)
def test_any_text_or_bytes_can_be_unwrapped(text: bytes | str) -> None:
    assert all(inner in str(text) or isinstance(text, bytes) for inner in unwrap(text))


# -- the batcher --------------------------------------------------------------------------------


def test_messages_wait_until_there_are_enough() -> None:
    batcher = Batcher(size=3, delay_s=0.1)
    assert batcher.add(numbered(1), now=0) == []
    assert batcher.add(numbered(2), now=0.05) == []
    assert batcher.add(numbered(3), now=0.06) == [numbered(n) for n in (1, 2, 3)]
    assert batcher.due_at is None
    assert batcher.flush() == []


def test_the_delay_counts_from_the_first_that_waits() -> None:
    batcher = Batcher(size=10, delay_s=0.1)
    batcher.add(numbered(1), now=5)
    batcher.add(numbered(2), now=5.09)
    assert batcher.due_at == 5.1
    assert batcher.flush() == [numbered(1), numbered(2)]
    batcher.add(numbered(3), now=6)
    assert batcher.due_at == 6.1


def test_an_owner_that_is_late_sends_with_the_next_message() -> None:
    batcher = Batcher(size=10, delay_s=0.1)
    batcher.add(numbered(1), now=0)
    assert batcher.add(numbered(2), now=0.1) == [numbered(1), numbered(2)]


def test_what_would_make_the_batch_too_large_goes_into_the_next() -> None:
    batcher = Batcher(size=10, delay_s=0.1, max_bytes=1000)
    large = numbered(1, "x" * 500)
    assert batcher.add(large, now=0) == []
    assert batcher.add(numbered(2, "x" * 500), now=0.01) == [large]
    assert batcher.due_at == pytest.approx(0.11)
    assert batcher.flush() == [numbered(2, "x" * 500)]


def test_the_first_batch_is_measured_like_every_other() -> None:
    for batcher in (Batcher(10, 1, 1000), used := Batcher(10, 1, 1000)):
        if batcher is used:
            batcher.add(numbered(0), now=0)
            batcher.flush()
        assert batcher.add(numbered(1, "x" * 360), now=0) == []
        assert batcher.add(numbered(2, "x" * 400), now=0) == [numbered(1, "x" * 360)]


@pytest.mark.parametrize("text", ["hello", FOREIGN, BATCH, EMPTY_CHAT])
def test_what_would_spoil_a_batch_goes_alone(text: str) -> None:
    batcher = Batcher(size=10, delay_s=0.1)
    assert batcher.add(text, now=0) == [text]
    batcher.add(numbered(1), now=0)
    assert batcher.add(text, now=0.05) == [numbered(1)]
    assert batcher.due_at == 0.05
    assert batcher.add(numbered(2), now=0.05) == [text]
    assert batcher.due_at == pytest.approx(0.15)
    assert batcher.flush() == [numbered(2)]


def test_a_batch_never_holds_more_than_the_specification_allows() -> None:
    for size in (0, 500):
        batcher = Batcher(size=size, delay_s=1000)
        leaving = next(leaving for n in range(200) if (leaving := batcher.add(numbered(n), now=0)))
        assert len(leaving) == MAX_BATCH


texts_to_batch = st.one_of(
    st.builds(numbered, st.integers(0, 99), st.integers(0, 300).map(lambda n: "é" * n)),
    json_texts(valid_messages),
    st.sampled_from(["hello", FOREIGN, BATCH, ""]),
)


@given(
    st.lists(st.tuples(texts_to_batch, st.floats(min_value=0, max_value=0.2)), max_size=40),
    st.integers(min_value=0, max_value=6),
    st.floats(min_value=0, max_value=0.3),
    st.sampled_from([0, 400, 700, 1024 * 1024]),
)
def test_any_messages_leave_in_order_in_time_and_within_the_limits(
    arrivals: list[tuple[str, float]], size: int, delay_s: float, max_bytes: int
) -> None:
    batcher, now, groups = Batcher(size, delay_s, max_bytes), 0.0, list[list[str]]()
    waiting_since: list[float] = []

    def leave(group: list[str], at: float) -> None:
        groups.append(group)
        for _ in group:
            assert at - waiting_since.pop(0) <= delay_s + 1e-9

    for text, pause in arrivals:
        while batcher.due_at is not None and batcher.due_at <= now + pause:
            leave(batcher.flush(), max(now, batcher.due_at or 0))  # the owner's timer
        now += pause
        waiting_since.append(now)
        if leaving := batcher.add(text, now):
            leave(leaving, now)
        assert (batcher.due_at is None) == (not waiting_since)
        assert len(waiting_since) <= (size or MAX_BATCH)
    if batcher.due_at is not None:
        leave(batcher.flush(), max(now, batcher.due_at or now))

    assert [text for group in groups for text in group] == [text for text, _ in arrivals]
    for group in groups:
        assert len(group) <= (size or MAX_BATCH)
        if len(group) > 1:
            wrapped = wrap(group, "msg_" + "0" * 17, 1640995200.123)
            assert check(wrapped) is None
            assert not max_bytes or wire_size(wrapped) <= max_bytes
