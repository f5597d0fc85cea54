"""A bounded memory under names, that forgets the oldest."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Memory(Generic[T]):
    """The newest entries under their names: at least `limit`, at most twice that."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.young: dict[str, T] = {}
        self.old: dict[str, T] = {}

    def __len__(self) -> int:
        return len(self.young) + len(self.old)

    def get(self, name: str) -> T | None:
        found = self.young.get(name)
        return found if found is not None else self.old.get(name)

    def keep(self, name: str, value: T) -> None:
        self.young[name] = value
        self.age()

    def age(self) -> None:
        """To be called after something was put into `young` by hand."""
        if len(self.young) > self._limit:
            self.old, self.young = self.young, {}
