"""Users and their keys: what is kept of them, where, and who may read it."""

from __future__ import annotations

import asyncio
import stat
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.errors import BadConfiguration, BadData, NotFound
from megabot_cli.gateway import passwords
from megabot_cli.gateway.accounts import Users
from megabot_cli.gateway.ledger import Ledger
from megabot_cli.gateway.throttle import MOST_NAMES, LoginThrottle


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_only_the_right_password_of_a_known_user_is_right() -> None:
    users = Users.in_memory(cost=2)
    ada = users.add("ada", "lovelace")
    assert await users.verify("ada", "lovelace") == ada
    assert await users.verify("ada", "Lovelace") is None
    assert await users.verify("bob", "lovelace") is None


async def test_users_and_keys_survive_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "users.yaml"
    users = Users.load(path, cost=2)
    ada = users.add("ada", "lovelace")
    key = users.add_api_key("ada")
    again = Users.load(path, cost=2)
    assert await again.verify("ada", "lovelace") == ada
    assert again.by_api_key(key) == ada
    assert again.by_api_key(key + "x") is None


def holds(folder: Path, text: str) -> bool:
    """Whether the text stands in any file of the folder."""
    return any(text.encode() in entry.read_bytes() for entry in folder.iterdir())


async def test_users_and_keys_survive_in_the_ledger_which_holds_no_secret(tmp_path: Path) -> None:
    with closing(Ledger.open(tmp_path)) as ledger:
        users = Users.open(ledger, cost=2)
        users.add("ada", "wrong")
        ada = users.add("ada", "lovelace")
        key = users.add_api_key("ada")
    with closing(Ledger.open(tmp_path)) as ledger:
        again = Users.open(ledger, cost=2)
        assert again.names == ["ada"]
        assert await again.verify("ada", "lovelace") == ada
        assert await again.verify("ada", "wrong") is None
        assert again.by_api_key(key) == ada
    assert not holds(tmp_path, "lovelace")
    assert not holds(tmp_path, key)


def test_the_users_file_holds_no_secret_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "users.yaml"
    users = Users.load(path, cost=2)
    users.add("ada", "lovelace")
    key = users.add_api_key("ada")
    text = path.read_text()
    assert "lovelace" not in text
    assert key not in text
    assert mode_of(path) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["users.yaml"]


async def test_a_new_password_replaces_the_old_and_the_user_stays_the_same() -> None:
    users = Users.in_memory(cost=2)
    before = users.add("ada", "lovelace")
    key = users.add_api_key("ada")
    assert users.add("ada", "byron") == before
    assert await users.verify("ada", "lovelace") is None
    assert await users.verify("ada", "byron") == before
    assert users.by_api_key(key) == before


async def test_the_first_user_is_made_once_with_a_password_of_chance(tmp_path: Path) -> None:
    users = Users.load(tmp_path / "users.yaml", cost=2)
    first = users.ensure_first()
    assert first is not None
    name, password = first
    assert await users.verify(name, password) is not None
    assert len(password) >= 16
    assert Users.load(tmp_path / "users.yaml", cost=2).ensure_first() is None


def test_a_key_for_nobody_is_not_made() -> None:
    with pytest.raises(NotFound):
        Users.in_memory(cost=2).add_api_key("nobody")


@pytest.mark.parametrize(("name", "password"), [("", "x"), ("ada", ""), ("x" * 257, "x")])
def test_empty_names_and_passwords_are_refused(name: str, password: str) -> None:
    with pytest.raises(BadData):
        Users.in_memory(cost=2).add(name, password)


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2]",
        "ada: {password: x}",
        "ada: {user_id: u, password_hash: plain}",
        "ada: {user_id: u, password_hash: 'scrypt$1$1$1$x$x'}",
        "ada: {user_id: u, password_hash: 'scrypt$1073741824$8$1$AAAA$AAAAAAAAAAAAAAAAAAAAAAAA'}",
        "ada: {user_id: u, password_hash: 'scrypt$x$8$1$AAAA$AAAAAAAAAAAAAAAAAAAAAAAA'}",
        "{unclosed",
    ],
)
def test_a_damaged_users_file_is_a_clear_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "users.yaml"
    path.write_text(text)
    with pytest.raises(BadConfiguration, match=r"users\.yaml"):
        Users.load(path, cost=2)


def test_an_empty_users_file_has_no_users(tmp_path: Path) -> None:
    path = tmp_path / "users.yaml"
    path.touch(mode=0o600)
    assert len(Users.load(path, cost=2)) == 0


def test_a_users_file_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    users = Users.load(tmp_path / "users.yaml", cost=2)
    users._path = tmp_path / "file" / "users.yaml"
    with pytest.raises(BadConfiguration):
        users.add("ada", "lovelace")


async def test_an_unknown_user_costs_a_hash_like_a_known_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    users = Users.in_memory(cost=2)
    users.add("ada", "lovelace")
    verified: list[str] = []
    matches = passwords.matches

    def counting(password: str, stored: str) -> bool:
        verified.append(stored.rsplit("$", 2)[0])
        return matches(password, stored)

    monkeypatch.setattr(passwords, "matches", counting)
    await asyncio.gather(users.verify("ada", "x"), users.verify("nobody", "x"))
    assert verified == ["scrypt$2$8$1"] * 2


@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_any_password_matches_its_own_hash_and_no_other_one(one: str, other: str) -> None:
    stored = passwords.hash_password(one, cost=2)
    assert passwords.matches(one, stored)
    assert passwords.matches(other, stored) == (one == other)
    assert passwords.hash_password(one, cost=2) != stored  # each has its own salt


@given(st.text(max_size=80))
def test_any_text_that_is_no_hash_is_known_as_none(text: str) -> None:
    assert not passwords.is_password_hash(text)


def test_failures_add_up_for_each_name_and_fade() -> None:
    throttle = LoginThrottle(0.0, per_name_rate=0.1, per_name_burst=2)
    waits = [throttle.admit("ada", 0.0) for _ in range(3)]
    assert waits == pytest.approx([0.0, 0.0, 10.0])
    assert throttle.admit("bob", 0.0) == 0.0
    assert throttle.admit("ada", 10.1) == 0.0


def test_a_right_password_clears_the_count() -> None:
    throttle = LoginThrottle(0.0, per_name_rate=0.1, per_name_burst=1)
    assert throttle.admit("ada", 0.0) == 0.0
    throttle.forgive("ada")
    assert throttle.admit("ada", 0.0) == 0.0


def test_attempts_in_all_are_bounded_whatever_the_names() -> None:
    throttle = LoginThrottle(0.0, total_rate=1, total_burst=5)
    waits = [throttle.admit(f"name {n}", 0.0) for n in range(6)]
    assert waits == pytest.approx([0.0] * 5 + [1.0])


def test_names_that_were_tried_do_not_fill_the_memory() -> None:
    throttle = LoginThrottle(0.0, total_rate=0)
    for n in range(MOST_NAMES + 50):
        throttle.admit(f"name {n}", 0.0)
    assert len(throttle._names) == MOST_NAMES
