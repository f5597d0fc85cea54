"""Only codes and reasons that may be sent are sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.protocol.close_codes import (
    MAX_REASON_BYTES,
    MEANING,
    CloseCode,
    reason_bytes,
    sendable,
)


def may_be_sent(code: int) -> bool:
    """RFC 6455, 7.4: the protocol's own codes that are no mere observations, and 3000-4999."""
    return code in {1000, 1001, 1002, 1003, *range(1007, 1015)} or 3000 <= code <= 4999


@given(st.integers() | st.integers(min_value=900, max_value=5100) | st.none())
def test_for_any_code_one_that_may_be_sent_is_found(code: int | None) -> None:
    assert may_be_sent(sendable(code))


@given(st.integers(min_value=900, max_value=5100).filter(may_be_sent))
def test_a_code_that_may_be_sent_is_passed_on(code: int) -> None:
    assert sendable(code) == code


@pytest.mark.parametrize(
    ("seen", "sent"),
    [
        (None, 1000),
        (1004, 1011),
        (1005, 1000),
        (1006, 1011),
        (1015, 1011),
        (999, 1011),
        (1016, 1011),
        (2999, 1011),
        (3000, 3000),
        (4999, 4999),
        (5000, 1011),
        (0, 1011),
        (-1, 1011),
    ],
)
def test_an_observation_becomes_the_nearest_code(seen: int | None, sent: int) -> None:
    assert sendable(seen) == sent


@pytest.mark.parametrize("code", CloseCode)
def test_our_own_codes_may_be_sent_and_have_a_meaning(code: CloseCode) -> None:
    assert sendable(code) == code
    assert MEANING[code]


@given(st.text(st.characters(), max_size=200) | st.text(max_size=200))
def test_any_reason_fits_a_close_frame_in_valid_utf8(reason: str) -> None:
    cut = reason_bytes(reason)
    assert len(cut) <= MAX_REASON_BYTES
    whole = reason.encode("utf-8", "replace").decode()
    assert whole.startswith(cut.decode())
    assert len(whole.encode()) <= MAX_REASON_BYTES or len(cut) > MAX_REASON_BYTES - 4


@pytest.mark.parametrize(("letter", "kept"), [("a", 123), ("é", 122), ("€", 123), ("😀", 120)])
def test_a_reason_is_cut_between_characters(letter: str, kept: int) -> None:
    assert reason_bytes(letter * 200) == (letter * 200).encode()[:kept]
