"""The files of older versions move into the data file once, and nothing of them is lost."""

from __future__ import annotations

import secrets
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from megabot_cli.errors import BadConfiguration
from megabot_cli.gateway.accounts import Users
from megabot_cli.gateway.keys import FLAT_TOKEN_NAME, KEY_NAME
from megabot_cli.gateway.ledger import Ledger
from megabot_cli.gateway.migration import migrate

SECRET = secrets.token_hex(32)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger.open(tmp_path)) as opened:
        yield opened


async def test_users_keys_and_secrets_move_and_still_open_the_door(
    tmp_path: Path, ledger: Ledger
) -> None:
    older = Users.load(tmp_path / "users.yaml", cost=2)
    ada = older.add("ada", "lovelace")
    key = older.add_api_key("ada")
    (tmp_path / "token.key").write_text(f"{SECRET}\n")
    (tmp_path / "flat.token").write_text("opensesame\n")
    moved = migrate(tmp_path, ledger)
    assert [path.name for path in moved] == [
        "users.yaml.migrated", "token.key.migrated", "flat.token.migrated",
    ]  # fmt: skip
    assert stat.S_IMODE(moved[0].stat().st_mode) == 0o600
    users = Users.open(ledger, cost=2)
    assert users.by_api_key(key) == await users.verify("ada", "lovelace") == ada
    assert ledger.secret(KEY_NAME, str) == (SECRET, False)
    assert ledger.secret(FLAT_TOKEN_NAME, str) == ("opensesame", False)
    assert migrate(tmp_path, ledger) == []


def test_a_migration_cut_short_is_done_again_and_changes_nothing(
    tmp_path: Path, ledger: Ledger
) -> None:
    older = Users.load(tmp_path / "users.yaml", cost=2)
    older.add("ada", "lovelace")
    (tmp_path / "token.key").write_text(SECRET)
    first = [path.rename(path.with_suffix("")) for path in migrate(tmp_path, ledger)]
    before = list(ledger.users())
    assert len(migrate(tmp_path, ledger)) == len(first) == 2
    assert list(ledger.users()) == before
    assert ledger.secret(KEY_NAME, str) == (SECRET, False)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("users.yaml", "ada: {password: plain}"),
        ("token.key", "no key"),
        ("token.key", "abcd"),
        ("flat.token", " \n"),
    ],
)
def test_a_file_that_is_none_of_ours_is_told_and_nothing_is_touched(
    tmp_path: Path, ledger: Ledger, name: str, content: str
) -> None:
    Users.load(tmp_path / "users.yaml", cost=2).add("ada", "lovelace")
    (tmp_path / name).write_text(content)
    with pytest.raises(BadConfiguration):
        migrate(tmp_path, ledger)
    assert not list(tmp_path.glob("*.migrated"))
    assert not list(ledger.users())
