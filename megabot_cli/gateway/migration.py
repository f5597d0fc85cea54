"""What older versions kept in files of their own moves into the data file, once."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from megabot_cli.errors import BadConfiguration
from megabot_cli.gateway.accounts import Users
from megabot_cli.gateway.keys import FLAT_TOKEN_NAME, KEY_NAME, Keys
from megabot_cli.gateway.ledger import Ledger

USERS_FILE = "users.yaml"
KEY_FILE = "token.key"
FLAT_TOKEN_FILE = "flat.token"  # noqa: S105  the name of a file
MOVED = ".migrated"


def migrate(folder: Path, ledger: Ledger) -> list[Path]:
    """Take over users, token key and static token that lie in `folder`; return what was renamed.

    What the data file has already stays as it is there: a migration that was cut short is
    done again and gives the same. Raises BadConfiguration, with nothing renamed, when one of
    the files is none of ours.
    """
    there = [
        path
        for name in (USERS_FILE, KEY_FILE, FLAT_TOKEN_FILE)
        if (path := folder / name).is_file()
    ]
    # All is read before anything is written.
    users = [Users.load(path) for path in there if path.name == USERS_FILE]
    secrets = [_read_secret(path) for path in there if path.name != USERS_FILE]
    for name, value in secrets:
        ledger.secret(name, partial(str, value))
    for found in users:
        found.copy_missing_to(ledger)
    return [_put_aside(path) for path in there]


def _read_secret(path: Path) -> tuple[str, str]:
    """The name it has in the data file, and its value."""
    try:
        value = path.read_text(encoding="ascii").strip()
        if path.name == FLAT_TOKEN_FILE:
            if not value:
                raise ValueError("it is empty")
            return FLAT_TOKEN_NAME, value
        return KEY_NAME, _checked_key(value)
    except (OSError, ValueError) as fault:
        raise BadConfiguration(
            f"The file {path} of an older version cannot be used: {fault}.",
            "Move it away: a new secret is made, and everybody logs in again.",
        ) from fault


def _checked_key(text: str) -> str:
    secret = bytes.fromhex(text)
    Keys(secret)  # raises when it is too short to sign with
    return secret.hex()


def _put_aside(path: Path) -> Path:
    aside = path.with_name(path.name + MOVED)
    try:
        return path.rename(aside)
    except OSError as fault:
        raise BadConfiguration(f"{path} cannot be renamed: {fault}.") from fault
