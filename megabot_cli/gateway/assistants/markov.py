"""Plausible text of any length, the same for the same seed and question."""

from __future__ import annotations

import asyncio
import random
import re
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence

from megabot_cli.gateway.assistants.echo import pieces
from megabot_cli.gateway.assistants.interface import Turn

MOST_WORDS = 15_000
USUAL_WORDS = 60

_ASKED_FOR = re.compile(r"\b(\d{1,6})\s+words?\b", re.IGNORECASE)

# Of our own writing: something to say about the work itself.
CORPUS = """
A relay keeps one link for many clients and forgets none of them. When the link falls it dials
again, and the clients wait without a word. A message that was accepted is answered or refused by
its id, and nothing is sent twice. The operator reads the log from the top and finds the moment
when the answer grew slow. A recording is a file of lines, and each line is one thing that
happened. Whoever plays it back sees the same questions at the same pace. The gateway answers as
the real one would, and it never asks for money. A session outlives its connections, and a
connection outlives its silence. The first chunk comes early and the last one says that it is the
last. A slow client has its own queue, and the others do not notice. The token is renewed before it
ends, and nobody is asked to log in again. A tap sees everything and changes nothing. The numbers
are plain while they are counted and pretty when somebody looks. A good error says what happened
and what to do. The same seed gives the same answer, and another seed gives another. When the disk
is full the recording stops loudly and the traffic goes on. A secret that was never written cannot
be read. The clock may jump, but the order of things stays. Two programs share one session and each
hears the other. A test that cannot fail says nothing at all. The queue has a bound because memory
has one. What was merged is counted, and what was dropped is told. The operator goes home on time.
"""


class MarkovAssistant:
    """Walks through a small text of our own, two words at a time.

    A question that names a number of words ("tell me 500 words") gets about so many.
    """

    def __init__(
        self, *, seed: int = 1, latency_s: float = 0.0, chunk_delay_s: float = 0.0
    ) -> None:
        self._seed = seed
        self._latency_s = latency_s
        self._chunk_delay_s = chunk_delay_s
        self._next = _chain(CORPUS.split())
        self._starts = sorted(pair for pair in self._next if pair[0][0].isupper())

    async def answer(self, text: str, history: Sequence[Turn]) -> AsyncGenerator[str, None]:
        pause_s = self._latency_s
        for piece in pieces(self.compose(text, len(history))):
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            yield piece
            pause_s = self._chunk_delay_s

    def compose(self, text: str, said_before: int = 0) -> str:
        """The whole answer; it differs with what was said before, as a conversation does."""
        chance = random.Random(f"{self._seed}/{said_before}/{text}")  # noqa: S311  no secret
        wanted = words_asked_for(text)
        pair = chance.choice(self._starts)
        words = [*pair]
        while len(words) < MOST_WORDS and not (len(words) >= wanted and words[-1].endswith(".")):
            following = self._next.get((words[-2], words[-1]))
            words += [chance.choice(following)] if following else chance.choice(self._starts)
        return " ".join(words)


def words_asked_for(text: str) -> int:
    """How many words a question asks for, at most 15 000; 60 where it does not say."""
    asked = _ASKED_FOR.search(text)
    return min(MOST_WORDS, max(2, int(asked[1]))) if asked else USUAL_WORDS


def _chain(words: list[str]) -> dict[tuple[str, str], list[str]]:
    following: dict[tuple[str, str], list[str]] = defaultdict(list)
    for first, second, third in zip(words, words[1:], words[2:], strict=False):
        following[first, second].append(third)
    return dict(following)
