"""What must outlive the process: whose each session is, and which refresh tokens are spent.

SQLite in WAL mode: a write is one short append without fsync, so it is made on the event
loop; it survives the death of the process, not of the machine.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import structlog

from megabot_cli.errors import BadConfiguration

LEDGER_FILE = "gateway.sqlite3"

# Another process may hold the file for a moment; longer than this would hold up everybody.
_WAIT_FOR_LOCK_S = 0.2
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    session_id TEXT PRIMARY KEY, user_id TEXT NOT NULL, used_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spent_tokens (
    jti TEXT PRIMARY KEY, expires_at REAL NOT NULL
) WITHOUT ROWID;
"""

log = structlog.get_logger()


class Ledger:
    """Times are Unix seconds. A disk that fails costs memory of the past, not the service."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    @classmethod
    def open(cls, folder: Path | None) -> Ledger:
        """The ledger in `folder`, or in memory. Raises BadConfiguration when it is unusable."""
        if folder is None:
            return cls(_connect(":memory:"))
        path = folder / LEDGER_FILE
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # SQLite gives its side files the mode of the main one.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            return cls(_connect(str(path)))
        except (OSError, sqlite3.Error) as fault:
            raise BadConfiguration(f"The data file {path} cannot be used: {fault}.") from fault

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

    def forget_session(self, session_id: str) -> None:
        self._write("DELETE FROM sessions WHERE session_id = ?", (session_id,))

    def spend(self, jti: str, expires_at: float) -> bool:
        """Mark a refresh token as used; False when it was already."""
        return self._write(
            "INSERT INTO spent_tokens VALUES (?, ?) ON CONFLICT DO NOTHING", (jti, expires_at)
        )

    def purge(self, *, now: float, used_since: float) -> None:
        """Drop what no longer matters."""
        self._write("DELETE FROM spent_tokens WHERE expires_at <= ?", (now,))
        self._write("DELETE FROM sessions WHERE used_at < ?", (used_since,))

    def close(self) -> None:
        self._database.close()

    def _write(self, statement: str, values: tuple[str | float, ...]) -> bool:
        try:
            return self._database.execute(statement, values).rowcount > 0
        except sqlite3.Error as fault:
            log.error("ledger.write_failed", fault=str(fault))
            return False

    def _read(self, statement: str, values: tuple[str | float, ...]) -> list[tuple[object, ...]]:
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as fault:
            log.error("ledger.read_failed", fault=str(fault))
            return []


def _connect(name: str) -> sqlite3.Connection:
    database = sqlite3.connect(name, timeout=_WAIT_FOR_LOCK_S, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.executescript(_SCHEMA)
    except sqlite3.Error:
        database.close()
        raise
    return database
