"""What is seen of a message that is folded, and where looking ends."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import megabot_cli.relay.unfolding
from megabot_cli.protocol.batching import counts_as, wrap
from megabot_cli.protocol.compression import compress
from megabot_cli.protocol.envelope import Head
from megabot_cli.protocol.messages import MAX_BATCH
from megabot_cli.relay.corner import MOST_IN_A_BATCH
from megabot_cli.relay.unfolding import (
    Opaque,
    Overgrown,
    Unfolding,
    messages_within,
)


def unfolding(most_bytes: int = 0, factor: int = 1, kind: type[Unfolding] = Unfolding) -> Unfolding:
    parts: Any = SimpleNamespace(limits=SimpleNamespace(max_message_bytes=most_bytes))
    return kind(parts, factor)


def message(kind: str, message_id: str = '"m"', filled: str = "") -> bytes:
    return f'{{"id":{message_id},"type":"{kind}","payload":"{filled}"}}'.encode()


def batch(count: int) -> bytes:
    return wrap(["1"] * count, "b", 0.0).encode()


def nested(*texts: bytes) -> bytes:
    inner = b",".join(texts)
    return b'{"id":"n","type":"b\\u0061tch","payload":{"messages":[' + inner + b"]}}"


def test_a_batch_of_ten_times_what_it_may_hold_is_taken_apart_and_no_longer_one() -> None:
    assert MOST_IN_A_BATCH == 10 * MAX_BATCH
    assert messages_within(batch(MOST_IN_A_BATCH)) == [b"1"] * MOST_IN_A_BATCH
    assert messages_within(batch(MOST_IN_A_BATCH + 1)) is None
    assert messages_within(b"no batch") == []
    assert counts_as(batch(MAX_BATCH)) == counts_as(batch(MOST_IN_A_BATCH)) == MAX_BATCH


@pytest.mark.parametrize("outer", [nested, lambda *texts: nested(*texts).replace(b"\\u0061", b"a")])
def test_the_messages_of_a_batch_in_a_batch_stand_in_its_place_and_deeper_is_too_deep(
    outer: Callable[..., bytes],
) -> None:
    first, second, third = message("x"), message("y"), message("z")
    assert messages_within(outer(first, outer(second, third), first)) == [
        *(first, second, third, first)
    ]
    assert messages_within(outer(first, outer(outer(second)))) is None
    half = batch(MOST_IN_A_BATCH // 2)
    assert len(messages_within(outer(half, half)) or []) == MOST_IN_A_BATCH
    assert messages_within(outer(half, half, b"1")) is None
    assert messages_within(outer(batch(MOST_IN_A_BATCH + 1))) is None
    formless = b'{"type":"batch","payload":{}}'
    assert messages_within(outer(formless)) == [formless]


@pytest.mark.parametrize(
    ("message_id", "found"),
    [('"m"', "m"), ('"\\u00e9\\""', 'é"'), ('"\\x"', None), ("7", None), (f'"{"i" * 201}"', None)],
)
def test_what_unfolds_to_too_much_is_told_with_its_id(message_id: str, found: str | None) -> None:
    text = message("x", message_id, "y" * 2000)
    head = unfolding(1000).head(compress(text))
    assert isinstance(head, Overgrown)
    assert (head.id, head.most_bytes) == (found, 1000)
    whole = unfolding(1000, 3).head(compress(text))
    assert not isinstance(whole, Overgrown)
    assert unfolding(len(text)).text(compress(text), binary=True) == text
    assert unfolding(len(text) - 1).text(compress(text), binary=True) == b""


def test_what_is_no_gzip_or_broken_has_no_head() -> None:
    assert unfolding().head(b"\x00\x01") is None
    assert unfolding().head(compress(message("x"))[:-9]) is None
    assert unfolding().head(message("x")) is None


def test_where_nobody_agreed_on_gzip_nothing_is_unfolded() -> None:
    opaque, folded = unfolding(kind=Opaque), compress(message("x"))
    assert opaque.head(folded) is None
    assert opaque.text(folded, binary=True) == b""
    assert opaque.text(b"text", binary=False) == b"text"


def test_what_has_no_corner_is_not_packed_anew() -> None:
    folded = compress(message("x"))
    assert unfolding().without_corner(folded, binary=True) is folded


def test_each_message_of_a_batch_is_as_urgent_as_it_would_be_alone() -> None:
    inner = [message("tool_result", '"r"'), message("chat_send", '"q"'), b"7"]
    folded = wrap([text.decode() for text in inner], "b", 0.0).encode()
    result, question, odd = unfolding().batched("client_1", "b", folded, False, 5.0) or ()
    assert (result.urgent, question.urgent, odd.urgent) == (True, False, False)
    assert (result.kind, question.kind, odd.kind) == (None, "chat_send", None)


def test_without_a_limit_what_is_too_long_to_be_read_is_nobodys_business(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It goes on unread: there is no limit that it could have passed."""
    text = message("x", filled="y" * 2000)
    monkeypatch.setattr(megabot_cli.relay.unfolding, "MAX_PAYLOAD_BYTES", len(text) - 1)
    assert unfolding(0).head(compress(text)) is None
    assert unfolding(0).text(compress(text), binary=True) == b""
    monkeypatch.setattr(megabot_cli.relay.unfolding, "MAX_PAYLOAD_BYTES", len(text))
    head = unfolding(0).head(compress(text))
    assert head is not None
    assert (head.id, type(head)) == ("m", Head)
    assert unfolding(0).text(compress(text), binary=True) == text
