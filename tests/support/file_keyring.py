"""A back end for the real `keyring` library: its entries lie in the file that KEYRING_FILE names.

Chosen by `PYTHON_KEYRING_BACKEND`. KEYRING_WAY says how it behaves: `works`, `hangs` as one does
that waits for a prompt which nobody sees, or `forgets` as one does that stores nothing.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError

BACKEND = f"{__name__}.FileKeyring"


class FileKeyring(KeyringBackend):
    priority = 1.0

    def get_password(self, service: str, username: str) -> str | None:
        self._behave()
        return self._entries().get(f"{service}/{username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        self._behave()
        if os.environ["KEYRING_WAY"] == "works":
            self._keep({**self._entries(), f"{service}/{username}": password})

    def delete_password(self, service: str, username: str) -> None:
        entries = self._entries()
        if entries.pop(f"{service}/{username}", None) is None:
            raise PasswordDeleteError("no such entry")
        self._keep(entries)

    def _behave(self) -> None:
        if os.environ["KEYRING_WAY"] == "hangs":
            threading.Event().wait()

    def _entries(self) -> dict[str, str]:
        file = Path(os.environ["KEYRING_FILE"])
        found: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
        return found

    def _keep(self, entries: dict[str, str]) -> None:
        Path(os.environ["KEYRING_FILE"]).write_text(json.dumps(entries))
