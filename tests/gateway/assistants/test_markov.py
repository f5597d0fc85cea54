"""Plausible text: as long as one asks for, the same under one seed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.gateway.assistants.interface import Turn
from megabot_cli.gateway.assistants.markov import (
    CORPUS,
    MOST_WORDS,
    USUAL_WORDS,
    MarkovAssistant,
    words_asked_for,
)

LONGEST_SENTENCE = max(len(sentence.split()) for sentence in CORPUS.split("."))


@pytest.mark.parametrize("wanted", [5, 500, 5_000])
def test_an_answer_has_as_many_words_as_were_asked_for_and_ends_with_its_sentence(
    wanted: int,
) -> None:
    words = MarkovAssistant().compose(f"Tell me {wanted} words about relays").split()
    # A walk may go through several sentences' halves before it meets a full stop.
    assert wanted <= len(words) <= wanted + 4 * LONGEST_SENTENCE
    assert words[-1].endswith(".")


def test_who_asks_for_no_number_gets_a_paragraph() -> None:
    assert words_asked_for("Tell me something") == USUAL_WORDS
    assert len(MarkovAssistant().compose("Tell me something").split()) >= USUAL_WORDS


@given(st.text(max_size=100), st.integers(0, 999_999))
def test_no_question_asks_for_more_than_fits_in_a_message(text: str, number: int) -> None:
    assert 2 <= words_asked_for(f"{text} {number} words") <= MOST_WORDS


def test_the_same_seed_says_the_same_and_another_says_something_else() -> None:
    assert MarkovAssistant(seed=7).compose("Hi") == MarkovAssistant(seed=7).compose("Hi")
    assert MarkovAssistant(seed=7).compose("Hi") != MarkovAssistant(seed=8).compose("Hi")
    assert MarkovAssistant(seed=7).compose("Hi") != MarkovAssistant(seed=7).compose("Ho")


async def test_the_same_question_later_in_a_conversation_has_another_answer() -> None:
    assistant = MarkovAssistant()
    at_first = [piece async for piece in assistant.answer("Hi", ())]
    said = (Turn("user", "Hi"), Turn("assistant", "".join(at_first)))
    later = [piece async for piece in assistant.answer("Hi", said)]
    assert "".join(at_first) != "".join(later)


def test_every_word_is_one_of_the_corpus() -> None:
    assert set(MarkovAssistant().compose("2000 words").split()) <= set(CORPUS.split())
