"""A document is walked through in pieces, wherever they are cut."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.recording.json_scan import NoDocument, Torn, elements, tokens, walk
from tests.recording.arbitrary import json_texts, json_values, thorough


def in_pieces(content: bytes, size: int) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]


def leaves(value: Any, names: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(value, dict):
        return [each for key, inner in value.items() for each in leaves(inner, (*names, key))]
    if isinstance(value, list):
        return [each for key, inner in enumerate(value) for each in leaves(inner, (*names, key))]
    return [names]


@thorough
@given(json_values, st.integers(1, 9), st.booleans())
def test_any_document_in_any_pieces_gives_its_values_where_they_stand(
    value: Any, size: int, spaced: bool
) -> None:
    content = json.dumps(value, ensure_ascii=True, indent=1 if spaced else None).encode()
    found = [
        json.loads(content[place.start : place.end])
        for place in walk(tokens(in_pieces(content, size)))
        if place.event in ("string", "word")
    ]
    decoded = json.loads(content)
    assert len(found) == len(leaves(decoded))


def test_a_value_is_given_with_the_keys_that_lead_to_it() -> None:
    content = b'{"log":{"":1,"entries":[{"a":"x"},{"b":{"c":[true]}}]}}'
    found = [
        (tuple(place.names), content[place.start : place.end])
        for place in walk(tokens([content]))
        if place.event in ("string", "word")
    ]
    assert found == [
        (("log", ""), b"1"),
        (("log", "entries", 0, "a"), b'"x"'),
        (("log", "entries", 1, "b", "c", 0), b"true"),
    ]


@thorough
@given(st.lists(json_texts, max_size=5), st.integers(1, 60), st.booleans())
def test_any_array_gives_its_elements(texts: list[str], size: int, flat: bool) -> None:
    values = [json.loads(text) for text in texts]
    content = json.dumps(values).encode()
    places = list(elements(tokens(in_pieces(content, size), flat=flat)))
    assert [json.loads(content[start:end]) for start, end in places] == values


@thorough
@given(st.binary(max_size=60), st.integers(1, 9), st.booleans())
def test_any_bytes_raise_nothing_unforeseen(content: bytes, size: int, flat: bool) -> None:
    with contextlib.suppress(Torn, NoDocument):
        list(walk(tokens(in_pieces(content, size), flat=flat)))


def test_a_document_that_ends_in_the_middle_says_where() -> None:
    with pytest.raises(Torn) as fault:
        list(walk(tokens([b'{"log":{"entries":[{"a":"x'])))
    assert fault.value.offset == 26


def test_endless_nesting_is_refused_early() -> None:
    read = 0

    def endless() -> Any:
        nonlocal read
        while True:
            read += 1
            yield b"[" * 65536

    with pytest.raises(NoDocument, match="nested deeper than 200"):
        list(walk(tokens(endless())))
    assert read == 1


def test_an_endless_word_is_refused() -> None:
    with pytest.raises(NoDocument):
        list(walk(tokens(b"1" * 4000 for _ in range(10))))


def test_a_long_string_is_passed_over() -> None:
    chunks = [b'["', *[b"x" * 65536] * 32, b'"]']
    (string,) = [place for place in walk(tokens(chunks)) if place.event == "string"]
    assert string.text is None
    assert string.end - string.start == 32 * 65536 + 2


def test_an_object_without_others_in_it_is_one_value() -> None:
    content = b'{"a":{"b":"}"},"c":[{"d":1},{}],"e":{"f":[]}}'
    found = [place.text for place in walk(tokens([content], flat=True)) if place.event == "flat"]
    assert found == [b'{"b":"}"}', b'{"d":1}', b"{}"]
