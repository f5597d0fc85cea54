"""The assistant that needs nothing: the same text has always the same answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence

from megabot_cli.gateway.assistants.interface import Turn

_QUOTED_CHARACTERS = 200
_WORD_WITH_SPACES = re.compile(r"\s*\S+\s*")


class EchoAssistant:
    """Says in a few sentences what it was told; the same text has always the same answer."""

    def __init__(self, *, latency_s: float = 0.0, chunk_delay_s: float = 0.0) -> None:
        self._latency_s = latency_s
        self._chunk_delay_s = chunk_delay_s

    async def answer(self, text: str, history: Sequence[Turn]) -> AsyncGenerator[str, None]:
        pause_s = self._latency_s
        for piece in pieces(reply_to(text)):
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            yield piece
            pause_s = self._chunk_delay_s


def reply_to(text: str) -> str:
    """The echo assistant's whole answer."""
    words = text.split()
    if not words:
        return "You sent nothing but white space, and I heard it well."
    said = _excerpt(text.strip())
    words_said = "one word" if len(words) == 1 else f"{len(words)} words"
    characters = "one character" if len(text) == 1 else f"{len(text)} characters"
    answer = f"You said “{said}” to me, which is {words_said} and {characters}."
    if len(words) > 1:
        longest = _excerpt(max(words, key=len))
        answer += f" The longest of them is “{longest}”."
        answer += f" From the last to the first they read: {_excerpt(' '.join(reversed(words)))}"
    return answer


def pieces(text: str) -> list[str]:
    """Cut a text where its words end; joined they are the text again."""
    return _WORD_WITH_SPACES.findall(text)


def _excerpt(text: str) -> str:
    return text if len(text) <= _QUOTED_CHARACTERS else text[:_QUOTED_CHARACTERS] + "…"
