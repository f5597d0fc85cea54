"""Who may come in: names, passwords and API keys, of which only hashes are kept."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from pathlib import Path

import msgspec
import structlog

from megabot_cli.client.ids import new_id
from megabot_cli.errors import BadConfiguration, BadData, NotFound
from megabot_cli.gateway import passwords
from megabot_cli.gateway.ledger import Ledger
from megabot_cli.storage.private_files import replace_private

API_KEY_PREFIX = "mbk_"
MAX_NAME_LENGTH = 256
KEY_ID_LENGTH = 16  # of the hash's characters: enough to tell keys apart, no help to guess one

# Each hash takes 16 MiB while it is computed; more at once than cores gains nothing.
_HASHES_AT_ONCE = 2

log = structlog.get_logger()


class User(msgspec.Struct, frozen=True):
    """One who may come in."""

    name: str
    user_id: str


class _Account(msgspec.Struct, forbid_unknown_fields=True):
    """What the users file keeps under a name."""

    user_id: str
    password_hash: str
    api_keys: list[str] = []


class Users:
    """All users: in the ledger, in a YAML file of the operator's (0600), or in memory only.

    `cost` is scrypt's n; tests lower it.
    """

    def __init__(
        self,
        accounts: dict[str, _Account] | None = None,
        *,
        path: Path | None = None,
        ledger: Ledger | None = None,
        cost: int = passwords.COST,
    ) -> None:
        self._path = path
        self._ledger = ledger
        self._version: object = None  # of the ledger, when it was last read
        self._cost = cost
        self._adopt(accounts or {})
        # An unknown name is verified against this, so that it takes as long as a known one.
        self._decoy = passwords.hash_password(secrets.token_hex(), cost=cost)
        self._hashing = asyncio.Semaphore(_HASHES_AT_ONCE)

    @classmethod
    def in_memory(cls, *, cost: int = passwords.COST) -> Users:
        return cls(cost=cost)

    @classmethod
    def open(cls, ledger: Ledger, *, cost: int = passwords.COST) -> Users:
        """The users in a ledger; changes are kept there."""
        return cls(_accounts_in(ledger), ledger=ledger, cost=cost)

    @classmethod
    def load(cls, path: Path, *, cost: int = passwords.COST) -> Users:
        """Read the users file; a missing one is an empty one, made at the first change.

        Raises BadConfiguration when the file cannot be read or is no users file.
        """
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return cls(path=path, cost=cost)
        except OSError as fault:
            raise BadConfiguration(
                f"{path} cannot be read: {fault.strerror or fault}.", "--users names another."
            ) from fault
        return cls(_parse(content, path), path=path, cost=cost)

    def __len__(self) -> int:
        return len(self._accounts)

    @property
    def names(self) -> list[str]:
        return list(self._accounts)

    def by_name(self, name: str) -> User | None:
        account = self._accounts.get(name)
        return User(name, account.user_id) if account is not None else None

    def by_api_key(self, key: str) -> User | None:
        # The look-up compares hashes of keys, so its timing says nothing about a key.
        self._take_over_news()
        return self.by_key_hash(key_hash(key))

    def by_key_hash(self, hashed: str) -> User | None:
        name = self._names_by_key.get(hashed)
        return self.by_name(name) if name is not None else None

    def add(self, name: str, password: str) -> User:
        """Make a user, or give a known one a new password. Takes as long as a hash does."""
        if not 0 < len(name) <= MAX_NAME_LENGTH:
            raise BadData(f"A user name has 1 to {MAX_NAME_LENGTH} characters.")
        if not password:
            raise BadData(
                "A password must not be empty.", "Type one, or pipe it in with --password-stdin."
            )
        hashed = passwords.hash_password(password, cost=self._cost)
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = _Account(new_id("user"), hashed)
        account.password_hash = hashed
        self._save(name)
        return User(name, account.user_id)

    def add_api_key(self, name: str) -> str:
        """Make a key for a known user. It is returned once and cannot be had again."""
        account = self._known(name)
        key = API_KEY_PREFIX + secrets.token_urlsafe(32)
        account.api_keys.append(key_hash(key))
        self._names_by_key[key_hash(key)] = name
        self._save(name)
        return key

    def ensure_first(self, name: str = "operator") -> tuple[str, str] | None:
        """Where there is nobody yet, make a user; return name and password, to print once."""
        if self._accounts:
            return None
        password = secrets.token_urlsafe(12)
        self.add(name, password)
        return name, password

    def remove(self, name: str) -> None:
        """Forget a user with all keys and sessions, where they are in a ledger."""
        account = self._known(name)
        if self._ledger is not None:
            self._ledger.forget_user(name, account.user_id)
        self._adopt({known: kept for known, kept in self._accounts.items() if known != name})

    def api_keys(self) -> list[tuple[str, str]]:
        """The id of each key, the beginning of its hash, and whose it is."""
        return [(key[:KEY_ID_LENGTH], name) for key, name in self._names_by_key.items()]

    def remove_api_key(self, key_id: str) -> str:
        """Forget the key of that id; returns whose it was."""
        found = [key for key in self._names_by_key if key[:KEY_ID_LENGTH] == key_id]
        if not found:
            raise NotFound(f"There is no key {key_id}.", "megabot gateway keys list shows them.")
        name = self._names_by_key.pop(found[0])
        self._accounts[name].api_keys.remove(found[0])
        self._save(name)
        return name

    def reload(self) -> None:
        """Take over what another process has written to the ledger."""
        if self._ledger is not None:
            self._adopt(_accounts_in(self._ledger))

    def _take_over_news(self) -> None:
        """Who was just made by `megabot gateway users add` may come at once."""
        if self._ledger is not None and (version := self._ledger.version()) != self._version:
            self._version = version
            self.reload()

    def copy_missing_to(self, ledger: Ledger) -> None:
        """Put the users that a ledger does not know yet there, with their keys."""
        known = _accounts_in(ledger)
        for name, account in self._accounts.items():
            if name not in known:
                ledger.keep_user(name, account.user_id, account.password_hash, account.api_keys)

    async def verify(self, name: str, password: str) -> User | None:
        """The user, or None when name or password is wrong; both take equally long."""
        self._take_over_news()
        account = self._accounts.get(name)
        stored = account.password_hash if account is not None else self._decoy
        async with self._hashing:
            right = await asyncio.to_thread(passwords.matches, password, stored)
        return User(name, account.user_id) if right and account is not None else None

    def _adopt(self, accounts: dict[str, _Account]) -> None:
        self._accounts = accounts
        self._names_by_key = {
            key: name for name, account in accounts.items() for key in account.api_keys
        }

    def _known(self, name: str) -> _Account:
        account = self._accounts.get(name)
        if account is None:
            raise NotFound(
                f"There is no user {name}.", "`megabot gateway users list` shows those there are."
            )
        return account

    def _save(self, name: str) -> None:
        if self._ledger is not None:
            account = self._accounts[name]
            self._ledger.keep_user(name, account.user_id, account.password_hash, account.api_keys)
        if self._path is None:
            return
        try:
            replace_private(self._path, msgspec.yaml.encode(self._accounts))
        except OSError as fault:
            raise BadConfiguration(
                f"The users file cannot be written: {fault.strerror or fault}.",
                "--users names another.",
            ) from fault


def _accounts_in(ledger: Ledger) -> dict[str, _Account]:
    return {
        name: _Account(user_id, password_hash, keys)
        for name, user_id, password_hash, keys in ledger.users()
    }


def key_hash(key: str) -> str:
    # A key holds 256 bits of chance: nobody guesses it, so a fast hash is enough.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _parse(content: bytes, path: Path) -> dict[str, _Account]:
    try:
        accounts = msgspec.yaml.decode(content, type=dict[str, _Account] | None) or {}
    except msgspec.DecodeError as fault:
        raise BadConfiguration(f"{path} is no users file: {fault}.") from fault
    for name, account in accounts.items():
        if not passwords.is_password_hash(account.password_hash):
            raise BadConfiguration(f"{path}: the password_hash of {name} is no scrypt hash.")
    if path.stat().st_mode & 0o077:
        log.warning("users_file.found_readable_by_others", path=str(path))
    return accounts
