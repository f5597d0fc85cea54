"""The one interface that answers come through."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Literal, Protocol

import msgspec


class Turn(msgspec.Struct, frozen=True):
    """One thing said in a session before."""

    sender: Literal["user", "assistant"]
    content: str


class Assistant(Protocol):
    """Answers in pieces, as they become known; together they are the answer."""

    def answer(self, text: str, history: Sequence[Turn]) -> AsyncGenerator[str, None]:
        """Yield the answer to `text`. It is closed early when nobody may have the rest."""


class AssistantFailed(Exception):
    """It has no answer, or not the whole of one. The text is for whoever asked."""
