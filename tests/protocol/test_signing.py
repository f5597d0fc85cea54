"""A signature proves who wrote a message, and that nobody changed it."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.errors import BadData
from megabot_cli.protocol.signing import Signer

KEY = b"0123456789abcdef"
TEXT = b'{ "id":"m1", "type" : "chat_send","payload":{"n": 1.0e2, "n":2},"timestamp":1.50 }'


def test_the_signature_is_an_hmac_over_the_exact_texts() -> None:
    signed = json.loads(Signer(KEY).sign(TEXT))
    over = b'm1\nchat_send\n1.50\n{"n": 1.0e2, "n":2}'
    expected = hmac.new(KEY, over, hashlib.sha256).hexdigest()
    assert signed["metadata"] == {"signature": f"hmac-sha256:{expected}"}


def test_payload_and_timestamp_keep_their_text_and_metadata_its_rest() -> None:
    text = TEXT.replace(b" }", b',"metadata":{"k": 1.00,"signature":"old"}, "extra": [ ] }')
    signed = Signer(KEY).sign(text)
    for kept in (b'{"n": 1.0e2, "n":2}', b'"timestamp":1.50', b'"k":1.00', b'"extra":[ ]'):
        assert kept in signed
    assert b"old" not in signed


def test_a_signed_message_is_good_and_signing_again_changes_nothing() -> None:
    signer = Signer(KEY)
    signed = signer.sign(TEXT)
    assert signer.check(signed) is None
    assert signer.sign(signed) == signed


def test_what_is_not_covered_may_be_added() -> None:
    signer = Signer(KEY)
    message = json.loads(signer.sign(b'{"id":"m1","type":"x","payload":1,"timestamp":1}'))
    message["metadata"]["reply_to"] = "m0"
    assert signer.check(json.dumps(message).encode()) is None


@pytest.mark.parametrize("field", ["id", "type", "payload", "timestamp"])
def test_any_change_of_what_is_covered_is_seen(field: str) -> None:
    signer = Signer(KEY)
    message: dict[str, Any] = json.loads(
        signer.sign(b'{"id":"m1","type":"x","payload":"p","timestamp":1}')
    )
    message[field] = 2 if field == "timestamp" else "other"
    problem = signer.check(json.dumps(message).encode())
    assert problem is not None
    assert problem.path == "$.metadata.signature"


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        b'{"id":"m1","type":"x","payload":1,"metadata":{"signature":"hmac-sha256:00"}}',
        b'{"id":"m1","type":"x","payload":1,"metadata":{"signature":5}}',
        b'{"id":"m1","type":"x","payload":1,"metadata":{"signature":"\\ud800"}}',
        b'{"id":"m1","type":"x","payload":1,"metadata":[]}',
        b'{"id":"a\\nb","type":"x","payload":1,"metadata":{"signature":"x"}}',
        b"plain words",
        b"[1]",
        b"\xff",
    ],
)
def test_what_is_not_signed_is_a_problem_and_never_an_error(text: bytes) -> None:
    assert Signer(KEY).check(text) is not None


def test_another_key_makes_another_signature() -> None:
    assert Signer(b"f" * 16).check(Signer(KEY).sign(TEXT)) is not None


def test_a_short_key_is_refused() -> None:
    with pytest.raises(BadData, match="16 bytes"):
        Signer(b"short")


@pytest.mark.parametrize("text", [b"words", b'{"id":1}', b'{"id":"a\\nb","type":"x","payload":1}'])
def test_what_is_no_envelope_cannot_be_signed(text: bytes) -> None:
    with pytest.raises(BadData):
        Signer(KEY).sign(text)


@given(st.binary(max_size=200))
def test_any_bytes_are_judged(data: bytes) -> None:
    assert Signer(KEY).check(data) is not None
