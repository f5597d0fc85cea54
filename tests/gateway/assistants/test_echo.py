"""The built-in assistant: pleasant, deterministic, cut where words end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.gateway.assistants.echo import EchoAssistant, pieces, reply_to
from megabot_cli.gateway.backlog import Backlog


def test_it_says_what_it_was_told() -> None:
    assert reply_to("Hello there, MegaBot!") == (
        "You said “Hello there, MegaBot!” to me, which is 3 words and 21 characters. "
        "The longest of them is “MegaBot!”. "
        "From the last to the first they read: MegaBot! there, Hello"
    )
    assert reply_to("Hi") == "You said “Hi” to me, which is one word and 2 characters."
    assert "white space" in reply_to(" \n")


@given(st.text(min_size=1))
def test_the_pieces_of_any_answer_are_the_answer_cut_at_words(text: str) -> None:
    answer = reply_to(text)
    cut = pieces(answer)
    assert "".join(cut) == answer
    assert all(len(piece.split()) == 1 for piece in cut)


@given(st.text(min_size=1, max_size=10_000))
def test_any_text_has_one_answer_of_bounded_length(text: str) -> None:
    assert reply_to(text) == reply_to(text)
    assert len(reply_to(text)) < 1000


async def test_it_streams_those_pieces() -> None:
    streamed = [piece async for piece in EchoAssistant().answer("one two", ())]
    assert streamed == pieces(reply_to("one two"))


@given(st.lists(st.binary(max_size=20)), st.integers(1, 10), st.integers(1, 100))
def test_a_backlog_keeps_the_newest_of_any_messages_and_counts_the_rest(
    messages: list[bytes], most: int, most_bytes: int
) -> None:
    backlog = Backlog(most, most_bytes)
    for message in messages:
        backlog.add(message)
    kept, dropped = backlog.take()
    assert kept == messages[dropped:]
    assert len(kept) <= most
    assert sum(map(len, kept)) <= most_bytes
    assert len(kept) + dropped == len(messages)
    assert backlog.take() == ([], 0)
