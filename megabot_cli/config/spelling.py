"""Guess what somebody meant to type."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str], *, near: float = 0.6) -> str | None:
    """A hint that names the nearest of `known`, or None when none is near: 1 is the same word."""
    from difflib import get_close_matches  # only a mistake pays for it

    close = get_close_matches(word, list(known), n=1, cutoff=near)
    return f"Did you mean {close[0]!r}?" if close else None


def as_clause(guess: str | None) -> str | None:
    """The guess as it goes on in a sentence that others began."""
    return guess and guess[0].lower() + guess[1:]
