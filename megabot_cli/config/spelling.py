"""Guess what somebody meant to type."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], *, near: float = 0.6) -> str | None:
    """The nearest of `known`, be it in capitals; None when none is near: 1 is the same word."""
    from difflib import get_close_matches  # only a mistake pays for it

    as_written = {each.casefold(): each for each in known}
    close = get_close_matches(word.casefold(), list(as_written), n=1, cutoff=near)
    return as_written[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str], *, near: float = 0.6) -> str | None:
    """A hint that names the nearest of `known`, or None when none is near."""
    meant = nearest(word, known, near=near)
    return f"Did you mean {meant!r}?" if meant is not None else None


def as_clause(guess: str | None) -> str | None:
    """The guess as it goes on in a sentence that others began."""
    return guess and guess[0].lower() + guess[1:]


def slips(typed: str, meant: str) -> int:
    """How often the finger slipped: letters that are wrong, too many, missing, or swapped."""
    before: list[int] = []
    row = list(range(len(meant) + 1))
    for i, letter in enumerate(typed, start=1):
        two_before, before, row = before, row, [i]
        for j, other in enumerate(meant, start=1):
            least = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and (typed[i - 2], letter) == (other, meant[j - 2]):
                least = min(least, two_before[j - 2] + 1)
            row.append(least)
    return row[-1]
