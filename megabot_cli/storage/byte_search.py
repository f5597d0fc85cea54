"""Where bytes stand in a block, by the system's own search where there is one.

Python's looks at most places of a text that is made of the same letters over and over, as a
recording is: for the name of a session the system's (`memmem`: glibc, musl, BSD, macOS) takes a
third of the time, for an escaped letter half.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, Protocol

_WORTH_BYTES: Final = 16 * 1024  # below it the call costs more than it saves


class Find(Protocol):
    """As `bytes.find`."""

    def __call__(self, needle: bytes, start: int, end: int, /) -> int: ...


def find_in(block: bytes) -> Find:
    """The quickest `block.find` there is. What it gives is for this block alone."""
    if len(block) < _WORTH_BYTES or (search := _memmem()) is None:
        return block.find
    return _Haystack(block, search).find


class _Haystack:
    def __init__(self, block: bytes, search: Callable[..., int | None]) -> None:
        import ctypes

        self._block = block  # it must stay where it is
        self._begin: int = ctypes.cast(ctypes.c_char_p(block), ctypes.c_void_p).value or 0
        self._search = search

    def find(self, needle: bytes, start: int, end: int) -> int:
        size = min(end, len(self._block)) - start
        if size < len(needle):
            return -1
        place = self._search(self._begin + start, size, needle, len(needle))
        return place - self._begin if place else -1


@functools.cache
def _memmem() -> Any:
    """None where the system has none, as on Windows."""
    import ctypes  # 5 ms: only who looks through something large needs it

    try:
        search = ctypes.PyDLL(None).memmem  # it keeps the interpreter's lock, for it is soon over
    except (AttributeError, OSError, TypeError):
        return None
    search.restype = ctypes.c_void_p
    search.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    return search
