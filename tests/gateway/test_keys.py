"""Tokens: two kinds, one key, an end."""

from __future__ import annotations

import stat
from contextlib import closing
from pathlib import Path

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.errors import BadConfiguration
from megabot_cli.gateway.accounts import User
from megabot_cli.gateway.keys import Keys, TokenKind, TokenRefused
from megabot_cli.gateway.ledger import Ledger

ADA = User("ada", "user_1")
KEYS = Keys.in_memory()


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.sampled_from(["access", "refresh"]),
    st.floats(0.01, 1e8),
)
def test_any_token_reads_as_it_was_issued_until_its_end(
    name: str, kind: TokenKind, lifetime_s: float
) -> None:
    token = KEYS.issue(User(name, "user_1"), kind, lifetime_s=lifetime_s, now=1e9)
    claims = KEYS.read(token, kind, now=1e9)
    assert (claims.sub, claims.user_id, claims.kind) == (name, "user_1", kind)
    with pytest.raises(TokenRefused, match="expired"):
        KEYS.read(token, kind, now=1e9 + lifetime_s + 0.001)


@pytest.mark.parametrize(("kind", "other"), [("access", "refresh"), ("refresh", "access")])
def test_one_kind_is_not_taken_for_the_other(kind: TokenKind, other: TokenKind) -> None:
    token = KEYS.issue(ADA, kind, lifetime_s=60, now=1e9)
    with pytest.raises(TokenRefused, match=f"no {other} token"):
        KEYS.read(token, other, now=1e9)


def test_no_two_tokens_are_the_same() -> None:
    issued = {KEYS.issue(ADA, "access", lifetime_s=60, now=1e9) for _ in range(100)}
    assert len(issued) == 100


@given(st.text() | st.text("abcdefABC012_-.=", max_size=60))
def test_any_text_that_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(TokenRefused):
        KEYS.read(text, "access", now=0.0)


@given(
    st.dictionaries(
        st.sampled_from(["sub", "user_id", "kind", "jti", "iat", "exp"]),
        st.none() | st.integers() | st.text(max_size=3),
    )
)
def test_any_claims_that_are_not_ours_are_refused_though_signed(claims: dict[str, object]) -> None:
    secret = b"s" * 32
    token = jwt.encode(claims, secret)
    with pytest.raises(TokenRefused):
        Keys(secret).read(token, "access", now=2e9)


# Tokens differ each time and so may their lengths: what is drawn must not depend on one.
@given(st.integers(0, 10_000), st.integers(1, 10))
def test_any_change_to_a_token_makes_it_worthless(where: int, turn: int) -> None:
    token = KEYS.issue(ADA, "access", lifetime_s=60, now=1e9)
    # The last character of a part may hold unused bits, so changing it may change nothing.
    places = [n for n in range(len(token) - 1) if "." not in token[n : n + 2]]
    place = places[where % len(places)]
    letters = "abcXYZ019-_"
    other = letters[(letters.find(token[place]) + turn) % len(letters)]
    assert other != token[place]
    with pytest.raises(TokenRefused):
        KEYS.read(token[:place] + other + token[place + 1 :], "access", now=1e9)


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with closing(Ledger.open(folder)) as ledger:
        token = Keys.open(ledger).issue(ADA, "access", lifetime_s=60, now=1e9)
    with closing(Ledger.open(folder)) as ledger:
        assert Keys.open(ledger).read(token, "access", now=1e9).sub == "ada"
    assert {stat.S_IMODE(entry.stat().st_mode) for entry in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("content", ["", "short", "00" * 8, "no hex " * 20])
def test_a_damaged_key_is_a_clear_error(content: str) -> None:
    with closing(Ledger.open(None)) as ledger:
        ledger.secret("token_key", lambda: content)
        with pytest.raises(BadConfiguration):
            Keys.open(ledger)
