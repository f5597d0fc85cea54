from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.client.refusals import (
    MOST_FOREIGN_CHARACTERS,
    Refusal,
    clean,
    closed_error,
    read_refusal,
    refusal_error,
    retry_after_s,
)
from megabot_cli.errors import (
    BadData,
    ConnectionLost,
    CouldNotConnect,
    MegabotError,
    NotAuthenticated,
    NotPermitted,
    RateLimited,
    UpstreamRefused,
)

NOW = 1_640_995_200.0  # Sat, 01 Jan 2022 00:00:00 GMT


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (401, NotAuthenticated),
        (403, NotPermitted),
        (429, RateLimited),
        (400, BadData),
        (413, BadData),
        (500, UpstreamRefused),
        (503, UpstreamRefused),
        (None, UpstreamRefused),
    ],
)
def test_a_code_becomes_the_error_an_operator_acts_on(
    code: int | None, kind: type[MegabotError]
) -> None:
    error = refusal_error(Refusal(code, "why", "because of this"), "The upstream")
    assert type(error) is kind
    assert "because of this" in error.message


@pytest.mark.parametrize(
    ("word", "kind"),
    [("upstream_unavailable", CouldNotConnect), ("delivery_unknown", ConnectionLost)],
)
def test_what_a_relay_says_of_its_upstream_is_worth_a_retry(
    word: str, kind: type[MegabotError]
) -> None:
    error = refusal_error(Refusal(503, word, "it is away"), "The upstream")
    assert type(error) is kind
    assert error.retryable
    assert error.message == "it is away"


def test_a_refusal_without_a_code_is_understood_by_its_word() -> None:
    refusal = read_refusal(b'{"error":"authentication_failed","message":"Invalid token provided"}')
    assert isinstance(refusal_error(refusal, "The upstream"), NotAuthenticated)


def test_a_refusal_says_when_to_try_again() -> None:
    error = refusal_error(Refusal(429, retry_after_s=7.0), "The upstream")
    assert error.retry_after_s == 7.0
    assert error.hint == "Try again in 7 s."


def test_our_own_secret_in_a_refusal_is_taken_out() -> None:
    refusal = Refusal(401, "bad", "the token hunter2 is not valid")
    error = refusal_error(refusal, "The upstream", secret="hunter2")
    assert "hunter2" not in error.message
    assert "[secret]" in error.message


def test_foreign_text_is_one_short_printable_line() -> None:
    line = clean("\x1b[31mred\x1b[0m\nnext\u202eline " + "x" * 100_000)
    assert line.startswith("[31mred [0m next line xxx")
    assert line.isprintable()
    assert len(line) <= MOST_FOREIGN_CHARACTERS + 1


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (4500, NotAuthenticated),
        (4504, RateLimited),
        (1012, CouldNotConnect),
        (1013, CouldNotConnect),
        (1008, UpstreamRefused),
        (3999, UpstreamRefused),
    ],
)
def test_a_close_in_place_of_a_greeting_says_what_it_means(
    code: int, kind: type[MegabotError]
) -> None:
    error = closed_error(code, "so it is", "The upstream")
    assert type(error) is kind
    assert error.close_code == code
    assert "so it is" in error.message


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 1.5 ", 1.5),
        ("0", 0.0),
        ("Sat, 01 Jan 2022 00:01:00 GMT", 60.0),
        ("Fri, 31 Dec 2021 00:00:00 GMT", 0.0),
        ("-5", None),
        ("soon", None),
        ("nan", None),
        ("", None),
        ("9" * 400, None),
        ("99999999999", 3600.0),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 3600.0),
    ],
)
def test_retry_after_is_read_in_both_its_forms(value: str, seconds: float | None) -> None:
    assert retry_after_s({"Retry-After": value}, NOW) == seconds


def test_no_retry_after_is_none() -> None:
    assert retry_after_s({}, NOW) is None


@given(st.binary() | st.text())
def test_any_body_is_a_refusal(body: bytes | str) -> None:
    assert read_refusal(body, 500).code == 500


@given(st.text(), st.text(min_size=1))
def test_any_foreign_text_is_cleaned_of_any_secret(text: str, secret: str) -> None:
    line = clean(text + secret + text, secret)
    assert line.isprintable()
    assert "\n" not in line


@given(st.text())
def test_any_retry_after_is_seconds_or_nothing(value: str) -> None:
    seconds = retry_after_s({"Retry-After": value}, NOW)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(("code", "says"), [(500, "Try again"), (599, "Try again"), (418, None)])
def test_a_fault_of_the_upstreams_own_says_what_to_do(code: int, says: str | None) -> None:
    hint = refusal_error(Refusal(code), "The upstream").hint
    assert hint is None if says is None else says in (hint or "")
