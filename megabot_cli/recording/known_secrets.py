"""Which secrets are in use, letter by letter: what looks like none is found by what it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

SHORTEST: Final = 8  # characters; a shorter one stands in texts that have nothing to do with it
_GENERATIONS = 4  # of one owner's secrets
_SURE = 4  # characters of a trace that are worth seeking

# What JSON writes in one way only, but for `\u00..`, which is looked into in any case.
_PLAIN = re.compile(r"[A-Za-z0-9 _.~+=:,;!?@#$%&*()|{}\[\]^-]+")


class Known(msgspec.Struct, frozen=True):
    """What is known at one moment. `traces` stand wherever a secret does, however JSON has it.

    `spellings` are what to look for: a secret as it is, as a URL has it, and as bytes of UTF-8
    that were taken for Latin-1; each with the secret itself.
    """

    values: tuple[str, ...] = ()
    spellings: tuple[tuple[str, str], ...] = ()
    traces: tuple[str, ...] = ()
    with_spaces: bool = False

    @classmethod
    def of(cls, values: Iterable[str]) -> Known:
        kept = tuple(dict.fromkeys(value for value in values if len(value) >= SHORTEST))
        spelt = {spelling: value for value in kept for spelling in _spellings(value)}
        spellings = tuple(sorted(spelt.items(), key=lambda each: -len(each[0])))
        return cls(kept, spellings, _traces(spelt), any(" " in each for each in kept))


NOTHING: Final = Known()


class KnownSecrets:
    """The secrets in use, by owner. Those that an owner had before stay known for a while: a
    link goes on that was opened with them, and what it hears may repeat them.

    Changed on one thread, `now` may be read on any.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._owned: dict[str, list[tuple[str, ...]]] = {}  # the newest first
        self.now = NOTHING
        self.learn("", values)

    def learn(self, owner: str, values: Iterable[str]) -> None:
        """These are `owner`'s from now on."""
        new = tuple(values)
        before = self._owned.setdefault(owner, [])
        if before[:1] == [new]:
            return
        before.insert(0, new)
        del before[_GENERATIONS:]
        self.now = Known.of(
            value for owned in self._owned.values() for each in owned for value in each
        )


def places_of(known: Known, text: str) -> Iterator[tuple[int, int, str]]:
    """Where secrets stand in a text, and which."""
    for spelling, secret in known.spellings:
        at = text.find(spelling)
        while at >= 0:
            yield at, at + len(spelling), secret
            at = text.find(spelling, at + len(spelling))


def begun_at_end(known: Known, text: str) -> tuple[int, str] | None:
    """Where a text ends with the beginning of a secret, of at least `SHORTEST` characters, and
    which it is."""
    # Asked of each chunk of each answer, and most end with a word.
    if not known.with_spaces and len(text) - text.rfind(" ") <= SHORTEST:
        return None
    found: tuple[int, str] | None = None
    for spelling, secret in known.spellings:
        start = spelling[:SHORTEST]
        at = text.find(start, max(0, len(text) - len(spelling) + 1))
        while at >= 0 and not spelling.startswith(text[at:]):
            at = text.find(start, at + 1)
        if at >= 0 and (found is None or at < found[0]):
            found = at, secret
    return found


def _spellings(secret: str) -> Iterator[str]:
    # Half a surrogate pair can be neither.
    whole = secret.encode("utf-8", "replace")
    in_url = "".join(map(_in_url, whole))
    yield from (secret, in_url, in_url.replace("%2F", "/"), in_url.replace("%20", "+"))
    yield whole.decode("latin-1")


def _in_url(byte: int) -> str:
    """One byte as RFC 3986 has it: letters, digits and `-._~` stand for themselves."""
    character = chr(byte)
    plain = character.isascii() and (character.isalnum() or character in "-._~")
    return character if plain else f"%{byte:02X}"


def _traces(spellings: Iterable[str]) -> tuple[str, ...]:
    found = {trace for spelling in spellings for trace in _traces_of(spelling)}
    return tuple(
        sorted(trace for trace in found if not any(o in trace and o != trace for o in found))
    )


def _traces_of(spelling: str) -> tuple[str, ...]:
    longest = max(_PLAIN.findall(spelling), key=len, default="")
    # Where there is no such stretch JSON has it as it is, or with a backslash.
    return (longest,) if len(longest) >= _SURE else (spelling, "\\")
