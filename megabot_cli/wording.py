"""How numbers stand in a sentence."""

from __future__ import annotations


def counted(count: float, noun: str) -> str:
    """`1 client`, `2 clients`, in whole numbers; the noun's plural ends with an s."""
    shown = f"{count:.0f}"
    return f"{shown} {noun}" if shown == "1" else f"{shown} {noun}s"
