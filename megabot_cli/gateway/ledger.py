"""What outlives the process when a data folder is given: one SQLite file with all of it.

SQLite in WAL mode: a write is one short append without fsync, so it is made on the event
loop; it survives the death of the process, not of the machine. Without a folder the same
tables are in memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import structlog

from megabot_cli.errors import BadConfiguration, NotFound, is_disk_full

LEDGER_FILE = "gateway.sqlite3"
LOCK_FILE = "gateway.lock"
SCHEMA_VERSION = 1

# Another process may hold the file for a moment; longer than this would hold up everybody.
_WAIT_FOR_LOCK_S = 0.2
_OPERATOR_WAITS_S = 5.0
# Between two of these the event loop has its turn.
_PURGED_AT_ONCE = 2
_PAGES_GIVEN_BACK = 256
_SCHEMA = """
CREATE TABLE IF NOT EXISTS secrets (
    name TEXT PRIMARY KEY, value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS users (
    name TEXT PRIMARY KEY, user_id TEXT NOT NULL, password_hash TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS api_keys (
    hash TEXT PRIMARY KEY, name TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sessions (
    session_id TEXT PRIMARY KEY, user_id TEXT NOT NULL, used_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS turns (
    session_id TEXT NOT NULL, n INTEGER NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL,
    PRIMARY KEY (session_id, n)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS waiting (
    session_id TEXT NOT NULL, n INTEGER NOT NULL, message BLOB NOT NULL,
    PRIMARY KEY (session_id, n)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spent_tokens (
    jti TEXT PRIMARY KEY, expires_at REAL NOT NULL
) WITHOUT ROWID;
"""
_OF_A_SESSION = ("sessions", "turns", "waiting")

log = structlog.get_logger()


class Ledger:
    """Times are Unix seconds. A disk that fails costs memory of the past, not the service;
    only users and secrets are written or refused."""

    def __init__(
        self,
        database: sqlite3.Connection,
        *,
        kept: bool,
        lock: int | None,
        path: Path | None = None,
    ) -> None:
        self._database = database
        self._path = path
        self._lock = lock
        self.kept = kept  # whether anything of it will be there after this process
        self._seen_version: object = database.execute("PRAGMA data_version").fetchone()[0]

    @classmethod
    def open(cls, folder: Path | None) -> Ledger:
        """The ledger in `folder`, or in memory. Raises BadConfiguration when it is unusable,
        damaged, of a newer megabot, or in use by another gateway."""
        if folder is None:
            return cls(_connect(":memory:"), kept=False, lock=None)
        path = folder / LEDGER_FILE
        lock = None
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _take_lock(folder)
            # SQLite gives its side files the mode of the main one.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            return cls(_connect(str(path)), kept=True, lock=lock, path=path)
        except (OSError, sqlite3.Error) as fault:
            _let_go(lock)
            why = getattr(fault, "strerror", None) or fault
            raise BadConfiguration(
                f"The data file {path} cannot be used: {why}.", _what_helps(fault)
            ) from fault
        except BadConfiguration:
            _let_go(lock)
            raise

    @classmethod
    def share(cls, folder: Path) -> Ledger:
        """The ledger in `folder` beside the gateway that may be using it: for users and keys.

        Raises NotFound where there is none, BadConfiguration when it is unusable.
        """
        path = folder / LEDGER_FILE
        if not path.is_file():
            raise NotFound(
                f"There is no gateway's data in {folder}.",
                "megabot gateway --data DIR makes it there.",
            )
        try:
            return cls(_connect(str(path), wait_s=_OPERATOR_WAITS_S), kept=True, lock=None)
        except sqlite3.Error as fault:
            raise BadConfiguration(
                f"The data file {path} cannot be used: {fault}.", _what_helps(fault)
            ) from fault

    # -- users and secrets -----------------------------------------------------------------

    def secret(self, name: str, make: Callable[[], str]) -> tuple[str, bool]:
        """The secret of that name, and whether it was made just now."""
        rows = self._demand("SELECT value FROM secrets WHERE name = ?", (name,))
        if rows:
            return str(rows[0][0]), False
        value = make()
        self._demand("INSERT INTO secrets VALUES (?, ?)", (name, value))
        return value, True

    def users(self) -> Iterator[tuple[str, str, str, list[str]]]:
        """Name, user id, password hash and the hashes of the API keys of each user."""
        for name, user_id, password_hash in self._demand("SELECT * FROM users ORDER BY name", ()):
            keys = self._demand("SELECT hash FROM api_keys WHERE name = ?", (name,))
            yield str(name), str(user_id), str(password_hash), [str(key) for (key,) in keys]

    def keep_user(self, name: str, user_id: str, password_hash: str, keys: Sequence[str]) -> None:
        """Make a user, or replace what is kept of one: all of it, or nothing."""
        with self._all_or_nothing():
            self._demand(
                "INSERT OR REPLACE INTO users VALUES (?, ?, ?)", (name, user_id, password_hash)
            )
            self._demand("DELETE FROM api_keys WHERE name = ?", (name,))
            for key in keys:
                self._demand("INSERT OR REPLACE INTO api_keys VALUES (?, ?)", (key, name))

    def forget_user(self, name: str, user_id: str) -> None:
        """Drop a user, the user's keys, and all that was said in the user's sessions."""
        with self._all_or_nothing():
            self._demand("DELETE FROM users WHERE name = ?", (name,))
            self._demand("DELETE FROM api_keys WHERE name = ?", (name,))
            for table in ("turns", "waiting", "sessions"):
                self._demand(
                    f"DELETE FROM {table} WHERE session_id IN"  # noqa: S608  a name of ours
                    " (SELECT session_id FROM sessions WHERE user_id = ?)",
                    (user_id,),
                )

    def changed_elsewhere(self) -> bool:
        """Whether another process has written to the file since this was last asked."""
        version = self.version()
        changed, self._seen_version = version != self._seen_version, version
        return changed

    def version(self) -> object:
        """Another value after each write of another process."""
        rows = self._read("PRAGMA data_version", ())
        return rows[0][0] if rows else self._seen_version

    # -- sessions --------------------------------------------------------------------------

    def note_session(self, session_id: str, user_id: str, at: float) -> None:
        """Remember a session, or that it was used again."""
        self._write(
            "INSERT INTO sessions VALUES (?, ?, ?)"
            " ON CONFLICT (session_id) DO UPDATE SET used_at = excluded.used_at",
            (session_id, user_id, at),
        )

    def owner(self, session_id: str, *, used_since: float) -> str | None:
        """The user of a session that was used since then."""
        rows = self._read(
            "SELECT user_id FROM sessions WHERE session_id = ? AND used_at >= ?",
            (session_id, used_since),
        )
        return str(rows[0][0]) if rows else None

    def note_turn(self, session_id: str, question: str, answer: str, *, most: int) -> None:
        """Remember what was said; of a session's turns the newest `most` are kept."""
        with self._together():
            rows = self._read("SELECT MAX(n) FROM turns WHERE session_id = ?", (session_id,))
            n = int(rows[0][0] or 0) + 1 if rows else 1  # type: ignore[call-overload]
            self._write("INSERT INTO turns VALUES (?, ?, ?, ?)", (session_id, n, question, answer))
            self._write("DELETE FROM turns WHERE session_id = ? AND n <= ?", (session_id, n - most))

    def turns(self, session_id: str) -> list[tuple[str, str]]:
        """Questions and their answers, the oldest first."""
        rows = self._read(
            "SELECT question, answer FROM turns WHERE session_id = ? ORDER BY n", (session_id,)
        )
        return [(str(question), str(answer)) for question, answer in rows]

    def note_waiting(self, session_id: str, messages: Sequence[bytes]) -> None:
        """Remember what a session has still to deliver, in the place of what it had before."""
        with self._together():
            self._write("DELETE FROM waiting WHERE session_id = ?", (session_id,))
            for n, message in enumerate(messages):
                self._write("INSERT INTO waiting VALUES (?, ?, ?)", (session_id, n, message))

    def waiting(self, session_id: str) -> list[bytes]:
        rows = self._read(
            "SELECT message FROM waiting WHERE session_id = ? ORDER BY n", (session_id,)
        )
        return [bytes(message) for (message,) in rows]  # type: ignore[call-overload]

    def forget_session(self, session_id: str) -> None:
        with self._together():
            for table in _OF_A_SESSION:
                self._write(f"DELETE FROM {table} WHERE session_id = ?", (session_id,))  # noqa: S608

    # -- tokens ----------------------------------------------------------------------------

    def spend(self, jti: str, expires_at: float) -> bool:
        """Mark a refresh token as used; False when it was already."""
        return self._write(
            "INSERT INTO spent_tokens VALUES (?, ?) ON CONFLICT DO NOTHING", (jti, expires_at)
        )

    # -- its own life ----------------------------------------------------------------------

    def purge(self, *, now: float, used_since: float) -> bool:
        """Drop what no longer matters, a few sessions at a time; whether there is more."""
        self._write("DELETE FROM spent_tokens WHERE expires_at <= ?", (now,))
        expired = self._read(
            "SELECT session_id FROM sessions WHERE used_at < ? LIMIT ?",
            (used_since, _PURGED_AT_ONCE),
        )
        for (session_id,) in expired:
            self.forget_session(str(session_id))
        self._give_back()
        return len(expired) == _PURGED_AT_ONCE

    def _give_back(self) -> None:
        try:
            # A script runs to its end; `execute` would free one page and stop.
            self._database.executescript(f"PRAGMA incremental_vacuum({_PAGES_GIVEN_BACK})")
        except sqlite3.Error as fault:
            log.error("ledger.write_failed", fault=str(fault))

    def checkpoint(self) -> None:
        """Move what was appended into the file itself. Waits for the disk: for a thread."""
        if self._path is None:
            return
        try:
            with contextlib.closing(sqlite3.connect(self._path, timeout=0.0)) as beside:
                beside.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as fault:
            log.error("ledger.write_failed", fault=str(fault))

    def close(self) -> None:
        self._database.close()
        lock, self._lock = self._lock, None
        _let_go(lock)

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        """All or nothing, and one append to the file instead of several."""
        self._write("BEGIN", ())
        try:
            yield
        finally:
            if self._in_transaction:
                self._write("COMMIT", ())

    @contextlib.contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """As `_together`, where what cannot be written is an error and undoes the rest."""
        self._demand("BEGIN IMMEDIATE", ())
        try:
            yield
            self._demand("COMMIT", ())
        except BaseException:
            if self._in_transaction:
                self._database.rollback()
            raise

    @property
    def _in_transaction(self) -> bool:
        try:
            return self._database.in_transaction
        except sqlite3.Error:
            return False

    def _demand(self, statement: str, values: tuple[Any, ...]) -> list[tuple[object, ...]]:
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as fault:
            raise BadConfiguration(f"The data file cannot be written: {fault}.") from fault

    def _write(self, statement: str, values: tuple[Any, ...]) -> bool:
        try:
            return self._database.execute(statement, values).rowcount > 0
        except sqlite3.Error as fault:
            log.error("ledger.write_failed", fault=str(fault))
            return False

    def _read(self, statement: str, values: tuple[Any, ...]) -> list[tuple[object, ...]]:
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as fault:
            log.error("ledger.read_failed", fault=str(fault))
            return []


def _what_helps(fault: OSError | sqlite3.Error) -> str:
    """Where it is the disk that takes nothing, no new file is made either."""
    if isinstance(fault, OSError):
        full = is_disk_full(fault)
    else:
        full = getattr(fault, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    if full:
        return "Make room, or name another folder with --data."
    if isinstance(fault, OSError):
        return "Name another folder with --data."
    return "Name another folder with --data, or move the file away: a new one is made."


def _connect(name: str, *, wait_s: float = _WAIT_FOR_LOCK_S) -> sqlite3.Connection:
    database = sqlite3.connect(name, timeout=wait_s, isolation_level=None)
    try:
        # Takes effect where the file is made: pages that are freed can be given back.
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        # Moving what was appended into the file waits for the disk: a thread does that.
        database.execute("PRAGMA wal_autocheckpoint = 0")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise BadConfiguration(
                f"The data file {name} was written by a newer megabot (its version is {version}).",
                "Install that megabot, or name another folder with --data.",
            )
        (damage,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if damage != "ok":
            raise sqlite3.DatabaseError(f"it is damaged ({damage.splitlines()[-1]})")
        database.executescript(_SCHEMA)
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    except (sqlite3.Error, BadConfiguration):
        database.close()
        raise
    return database


def _take_lock(folder: Path) -> int:
    """Two gateways that share sessions without knowing of each other would lose some."""
    path = folder / LOCK_FILE
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise BadConfiguration(
            f"Another gateway (pid {holder or 'unknown'}) uses the data folder {folder}.",
            "Stop it, or name another folder with --data.",
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _let_go(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)
