"""How numbers stand in a sentence."""

from __future__ import annotations


def counted(count: float, noun: str) -> str:
    """`1 client`, `2 clients`, in whole numbers; the noun's plural ends with an s."""
    shown = f"{count:.0f}"
    return f"{shown} {noun}" if shown == "1" else f"{shown} {noun}s"


def about(seconds: float) -> str:
    """A time in the largest unit of which there are two: `90 minutes`, `36 hours`, `3 days`."""
    for unit, size_s in (("day", 86400.0), ("hour", 3600.0)):
        if seconds >= 2 * size_s:
            return counted(seconds / size_s, unit)
    return counted(seconds / 60, "minute")


def missing_chunks(count: int, *, did_not_come: bool = True) -> str:
    """That so many chunks of an answer are missing; `did_not_come` is False where they may have
    come all the same, before or beside what is shown."""
    if did_not_come:
        return f"{counted(count, 'chunk')} of the answer did not come"
    return f"{counted(count, 'chunk')} of the answer {'is' if count == 1 else 'are'} not here"
