"""The flat dialect put into envelopes and taken out of them."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.protocol import flat
from megabot_cli.protocol.envelope import build
from megabot_cli.protocol.messages import MESSAGE_TYPES
from megabot_cli.protocol.validation import Problem
from megabot_cli.protocol.validation import check as check_envelope

AT = 1_700_000_000.25
Said = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)


@given(Said)
def test_any_message_of_a_client_is_a_valid_chat_send_with_the_same_words(words: str) -> None:
    text = flat.write("message", {"content": words})
    envelope = flat.to_envelope(text, "msg_1", AT)
    assert isinstance(envelope, bytes)
    assert check_envelope(envelope) is None
    assert json.loads(envelope)["payload"] == {"content": words}


@given(Said)
def test_any_answer_is_a_message_with_the_same_words(words: str) -> None:
    answer = build("msg_2", "chat_receive", {"content": words}, at=AT).encode()
    assert json.loads(flat.from_envelope(answer, AT) or b"") == {
        "type": "message",
        "content": words,
        "sender": "MegaBot",
        "timestamp": "2023-11-14T22:13:20.250+00:00",
    }


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_anything_is_read_or_has_a_problem_and_nothing_is_raised(text: bytes | str) -> None:
    found = flat.to_envelope(text, "msg_1", AT)
    assert isinstance(found, Problem | bytes)
    assert (flat.check(text) is None) == isinstance(found, bytes)
    if isinstance(text, bytes):
        flat.from_envelope(text, AT)


def test_chunks_are_not_heard() -> None:
    payload = {"chunk": "a", "is_complete": False, "sequence": 1}
    assert flat.from_envelope(build("m", "chat_stream", payload, at=AT).encode(), AT) is None


def test_an_error_is_a_line_of_plain_text() -> None:
    payload = {"error": "rate_limited", "message": "Too fast.", "code": 429}
    error = build("m", "connection_error", payload, at=AT).encode()
    assert flat.from_envelope(error, AT) == b"Error 429: Too fast."


def test_other_types_lose_their_envelope() -> None:
    message = build("m", "status_update", {"status": "working", "type": "x"}, at=AT).encode()
    assert flat.from_envelope(message, AT) == b'{"type":"status_update","status":"working"}'


def test_what_is_no_envelope_passes_as_it_is() -> None:
    assert flat.from_envelope(b"not json", AT) == b"not json"
    assert flat.from_envelope(b'{"type":"message"}', AT) == b'{"type":"message"}'


def test_a_problem_names_the_place_and_shows_no_words() -> None:
    problem = flat.check('{"type":"message","content":["my secret"]}')
    assert problem is not None
    assert str(problem) == "$.content: expected text, got a list (a message has a content)"


def test_no_type_of_the_dialect_is_one_of_the_specification() -> None:
    assert not set(flat.FIELDS) & set(MESSAGE_TYPES)
    assert set(flat.ANSWERS) == set(flat.FIELDS)
