"""A secret that an answer streams in pieces."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megabot_cli.recording.known_secrets import KnownSecrets
from megabot_cli.recording.record import Record
from megabot_cli.recording.redaction import Redactor
from megabot_cli.recording.stream_redaction import StreamRedactor

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"


def chunk(text: str, *, reply_to: str = "m1", last: bool = False) -> str:
    return json.dumps(
        {
            "id": "s1",
            "type": "chat_stream",
            "payload": {"stream_id": "s", "chunk": text, "is_complete": last},
            "metadata": {"reply_to": reply_to},
        }
    )


def record(text: str, message_type: str = "chat_stream", link: str = "link_1") -> Record:
    return Record(n=1, t=0, kind="message", type=message_type, link=link, data=text)


def written(redactor: StreamRedactor, pieces: list[str]) -> str:
    """What a recording of the answer says, put together again."""
    said = ""
    for piece in pieces:
        data = redactor.redact_record(record(chunk(piece))).data
        said += json.loads(data or "")["payload"]["chunk"]
    return said


@pytest.fixture
def redactor() -> StreamRedactor:
    return StreamRedactor(Redactor(b"k" * 32))


@pytest.mark.parametrize(
    ("pieces", "secret"),
    [
        (["use Bearer ", "abc123def456ghi", " please"], "abc123def456ghi"),
        (["use Bea", "rer", " abc123", "def456ghi"], "def456ghi"),
        (["the password=", "hunter2swordfish", " is it"], "hunter2swordfish"),
        (['{"api_key": "', "sk-live-0123456789", '"}'], "0123456789"),
        (list(f"here: {JWT} ends"), "c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"),
        ([JWT[:30], JWT[30:50], JWT[50:]], "c2lnbmF0dXJl"),
    ],
)
def test_a_secret_over_several_chunks_is_taken_out(
    redactor: StreamRedactor, pieces: list[str], secret: str
) -> None:
    said = written(redactor, pieces)
    assert secret not in said
    assert "‹redacted:" in said


def test_what_follows_the_secret_is_kept(redactor: StreamRedactor) -> None:
    said = written(redactor, ["use Bearer ", "abc123def456", " and ", "go on"])
    assert said.startswith("use Bearer ‹redacted:")
    assert said.endswith("› and go on")


def test_two_streams_are_two_texts(redactor: StreamRedactor) -> None:
    redactor.redact_record(record(chunk("use Bearer ", reply_to="m1")))
    other = redactor.redact_record(record(chunk("innocent", reply_to="m2")))
    elsewhere = redactor.redact_record(record(chunk("innocent", reply_to="m1"), link="link_2"))
    assert "innocent" in (other.data or "")
    assert "innocent" in (elsewhere.data or "")


def test_the_end_of_an_answer_is_the_end_of_its_text(redactor: StreamRedactor) -> None:
    redactor.redact_record(record(chunk("use Bearer ", last=True)))
    assert "innocent" in (redactor.redact_record(record(chunk("innocent"))).data or "")


def test_chunks_in_a_batch_are_chunks(redactor: StreamRedactor) -> None:
    inner = [json.loads(chunk("use Bearer ")), json.loads(chunk("abc123def456"))]
    batch = json.dumps({"id": "b", "type": "batch", "payload": {"messages": inner}})
    found = redactor.redact_record(record(batch, "batch"))
    assert "abc123def456" not in (found.data or "")
    assert found.redacted == ["$.payload.messages[1].payload.chunk"]


def test_the_paths_say_where_and_all_else_stays_as_it_was(redactor: StreamRedactor) -> None:
    redactor.redact_record(record(chunk("use Bearer ")))
    head = '{ "type":"chat_stream", "payload" : {"chunk":"'
    rest = '\\n23def\\n",  "stream_id":"s"},"metadata":{"reply_to":"m1"} }'
    text = f"{head}abc\\u0031{rest}"
    found = redactor.redact_record(record(text))
    assert found.redacted == ["$.payload.chunk"]
    assert found.data is not None
    assert found.data.startswith(f"{head}‹redacted:")
    assert found.data.endswith(rest)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"payload":7}', '{"payload":{"chunk":3}}', "[" * 5000]
)
def test_what_is_no_chunk_is_left_to_the_redactor(redactor: StreamRedactor, text: str) -> None:
    assert redactor.clean_pieces(text, "link_1") is None


def test_what_was_redacted_once_is_not_found_again(redactor: StreamRedactor) -> None:
    again = StreamRedactor(Redactor(b"another" * 4))
    for piece in ["the password=hu", "nter2", "swordfish", " is Bearer ", "abc123", "456def"]:
        clean = redactor.redact_record(record(chunk(piece))).data or ""
        assert again.clean_pieces(clean, "link_1") is None


@given(
    cuts=st.lists(st.integers(1, 90), max_size=8),
    before=st.text("xyz .,\n", max_size=20),
    secret=st.text("abcdefghij0123456789", min_size=20, max_size=40),
)
@settings(max_examples=150, deadline=None)
def test_wherever_it_is_cut_its_second_half_is_never_written(
    cuts: list[int], before: str, secret: str
) -> None:
    text = f"{before} Bearer {secret} after"
    places = [0, *sorted({cut for cut in cuts if cut < len(text)}), len(text)]
    pieces = [text[a:b] for a, b in pairwise(places)]
    said = written(StreamRedactor(Redactor(b"k" * 32)), pieces)
    assert secret[10:] not in said


@pytest.mark.parametrize(
    "pieces",
    [
        ["it is ", "plain-to-see", "-and-secret", ", I think"],
        ["it is plain-to-", "see-and-", "secret, I think"],
        [f"{'a long beginning ' * 30} it is plain-to-s", "ee-and-secret, I think"],
        ["it is ", *"plain-to-see-and-secret", ", I think"],
    ],
)
def test_of_a_secret_in_use_that_is_streamed_seven_characters_stay_at_most(
    pieces: list[str],
) -> None:
    known = KnownSecrets(["plain-to-see-and-secret"])
    said = written(StreamRedactor(Redactor(b"k" * 32, known=known)), pieces)
    assert "it is " in said
    assert said.endswith("›, I think")
    assert "plain-to" not in said
    assert "see" not in said


def test_what_only_begins_like_a_secret_in_use_is_lost_but_what_follows_is_kept() -> None:
    known = KnownSecrets(["plain-to-see-and-secret"])
    redactor = StreamRedactor(Redactor(b"k" * 32, known=known))
    said = written(redactor, ["it is plain-to-s", "ay, no more"])
    assert said.endswith("›ay, no more")
