"""Which messages of clients may go up: at the very bounds, in each mode, as text and as gzip."""

from __future__ import annotations

import gzip
import json
from types import SimpleNamespace
from typing import Any

import pytest

from megabot_cli.config.schema import LimitSettings, RelaySettings
from megabot_cli.protocol.envelope import Head, peek
from megabot_cli.relay.checks import LONG_BYTES, Checks, Objection, head_of, name_of
from megabot_cli.relay.routing import MOST_ID
from megabot_cli.relay.unfolding import Unfolding
from megabot_cli.telemetry.metrics import RelayNumbers


class Judge:
    """The checks of one relay; `of` says what they say to a message."""

    def __init__(self, mode: str = "warn", most_bytes: int = 0) -> None:
        limits = LimitSettings(max_message_bytes=most_bytes)
        self.numbers = RelayNumbers()
        settings = RelaySettings(validation=mode)  # type: ignore[arg-type]
        self.checks = Checks(settings, limits, self.numbers)
        parts: Any = SimpleNamespace(limits=limits)
        self.unfold = Unfolding(parts)

    def of(self, data: bytes, *, binary: bool = False) -> int | None:
        """The code of the objection; None: it may go."""
        head = self.unfold.head(data) if binary else peek(data)
        objection = (
            self.checks.judge_binary(data, head, self.unfold)
            if binary
            else self.checks.judge(data, head, binary=False)
        )
        return objection.code if isinstance(objection, Objection) else None


def note(message_id: str = "m", filled: int = 0) -> bytes:
    return json.dumps({"id": message_id, "type": "note", "payload": "x" * filled}).encode()


def test_a_message_may_be_as_long_as_the_limit_and_no_longer() -> None:
    data = note(filled=100)
    assert Judge("off", len(data)).of(data) is None
    assert Judge("off", len(data) - 1).of(data) == 413
    assert Judge("off", 0).of(note(filled=2_000_000)) is None


def test_gzip_may_unfold_to_as_much() -> None:
    data = note(filled=5000)
    assert Judge("off", len(data)).of(gzip.compress(data), binary=True) is None
    assert Judge("off", len(data) - 1).of(gzip.compress(data), binary=True) == 413


def test_a_long_id_is_refused_in_a_long_message_alone() -> None:
    judge = Judge("off")
    filled = LONG_BYTES + 1
    assert judge.of(note("i" * MOST_ID, filled)) is None
    assert judge.of(note("i" * (MOST_ID + 1), filled)) == 400
    short = note("i" * (MOST_ID + 1))
    fills = LONG_BYTES - len(short)
    assert judge.of(note("i" * (MOST_ID + 1), fills)) is None
    assert judge.of(note("i" * (MOST_ID + 1), fills + 1)) == 400


def test_a_refusal_names_ids_up_to_a_length() -> None:
    assert name_of(Head("i" * MOST_ID)) == "i" * MOST_ID
    assert name_of(Head("i" * (MOST_ID + 1))) is None
    assert name_of(Head(None)) is name_of(None) is None


@pytest.mark.parametrize(
    ("data", "binary"),
    [
        (b"no envelope", False),
        (b'{"id":"m","type":"chat_send","payload":{"content":""}}', False),
        (gzip.compress(b'{"id":"m","type":"chat_send","payload":{"content":""}}'), True),
        (gzip.compress(b"no envelope"), True),
        (b"\x00\x01", True),
    ],
    ids=["text", "content", "gzip", "text as gzip", "binary"],
)
def test_what_breaks_the_rules_is_refused_counted_or_ignored(data: bytes, *, binary: bool) -> None:
    opaque = data == b"\x00\x01"  # nobody can tell what it says: only strict refuses it
    for mode, code, counted in (
        ("strict", 400, 1),
        ("warn", None, int(not opaque)),
        ("off", None, 0),
    ):
        judge = Judge(mode)
        assert judge.of(data, binary=binary) == code
        assert judge.numbers.invalid_to_upstream == counted


@pytest.mark.parametrize("mode", ["strict", "warn", "off"])
def test_what_keeps_the_rules_goes(mode: str) -> None:
    judge = Judge(mode)
    good = b'{"id":"m","type":"chat_send","payload":{"content":"x"}}'
    assert judge.of(good) is judge.of(gzip.compress(good), binary=True) is None
    assert judge.of(note(filled=1)) is None
    assert judge.numbers.invalid_to_upstream == 0


def chat(kind: str = "chat_send", filled: int = 10) -> bytes:
    text = json.dumps({"id": "m", "type": kind, "payload": {"content": "x" * filled}})
    return text.encode()


def test_what_is_wholly_valid_needs_no_further_look() -> None:
    checks = Judge("strict").checks
    good = checks.clear(chat())
    assert good is not None
    assert head_of(good) == peek(chat())
    assert checks.clear(chat(filled=0)) is None


def test_nothing_is_clear_where_nothing_is_checked_or_the_size_may_matter() -> None:
    assert Judge("off").checks.clear(chat()) is None
    longest = LONG_BYTES - len(chat(filled=0))
    assert Judge().checks.clear(chat(filled=longest)) is not None
    assert Judge().checks.clear(chat(filled=longest + 1)) is None
    assert Judge(most_bytes=len(chat())).checks.clear(chat()) is not None
    assert Judge(most_bytes=len(chat()) - 1).checks.clear(chat()) is None


def test_who_speaks_in_unknown_types_is_not_read_twice_each_time() -> None:
    judge = Judge()
    assert judge.of(note()) is None
    assert judge.checks.clear(chat()) is None
    assert judge.of(chat()) is None
    assert judge.checks.clear(chat()) is not None
