"""The system's keyring, when there is one that works.

On a machine without a desktop the `keyring` library raises, waits for a prompt that
nobody sees, or stores nothing without a word. So each call has a limit, and what was
written is read back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

SERVICE = "megabot-cli"
LIMIT_S = 2.0
# On a machine that has just started the library itself takes long to load; that is no fault of
# the keyring's.
IMPORT_LIMIT_S = 5.0

T = TypeVar("T")


class KeyringFailed(Exception):
    """The keyring is missing, silent or broken; the text says which and holds no secret."""


class KeyringMissing(KeyringFailed):
    """There is none on this machine."""


class KeyringAccess:
    """Reads, writes and deletes entries, each call within `LIMIT_S` once the library is there."""

    def write(self, entry: str, secret: str) -> None:
        """Store, and make sure that it can be read again."""

        def store(keyring: Any) -> object:
            keyring.set_password(SERVICE, entry, secret)
            return keyring.get_password(SERVICE, entry)

        if self._call(store) != secret:
            raise KeyringFailed("it does not give back what was stored")

    def read(self, entry: str) -> str | None:
        found = self._call(lambda keyring: keyring.get_password(SERVICE, entry))
        return found if isinstance(found, str) else None

    def delete(self, entry: str) -> None:
        """Remove an entry; one that is not there is removed already."""

        def remove(keyring: Any) -> None:
            if keyring.get_password(SERVICE, entry) is not None:
                keyring.delete_password(SERVICE, entry)

        self._call(remove)

    def _call(self, work: Callable[[Any], T]) -> T:
        """Run `work` in a thread that is left behind when it does not come back."""
        results: list[T] = []
        faults: list[KeyringFailed] = []
        loaded = threading.Event()

        def run() -> None:
            try:
                import keyring
            except ImportError:
                faults.append(KeyringMissing("the `keyring` package is not installed"))
                return
            finally:
                loaded.set()
            try:
                results.append(work(keyring))
            # Back ends raise whatever their system's libraries raise. The text of a
            # fault may hold what was to be stored, so only its name is kept.
            except Exception as fault:
                if type(fault).__name__ == "NoKeyringError":
                    faults.append(KeyringMissing("no keyring runs here (NoKeyringError)"))
                else:
                    faults.append(KeyringFailed(f"it fails with {type(fault).__name__}"))

        thread = threading.Thread(target=run, name="keyring", daemon=True)
        thread.start()
        loaded.wait(IMPORT_LIMIT_S)
        thread.join(LIMIT_S)
        if thread.is_alive():
            raise KeyringFailed(f"it does not answer within {LIMIT_S:g} s")
        if faults:
            raise faults[0]
        return results[0]
