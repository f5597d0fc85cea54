"""Texts that must stand in a line of a recording, as they stand there: for a quick search."""

from __future__ import annotations

import msgspec

_WRITTEN_OTHERWISE = frozenset('"\\/')


class Literals(msgspec.Struct, frozen=True):
    """One of `texts` stands in each line that can be wanted.

    `in_payload` says that it does so inside the payload, which others wrote: they may have
    escaped letters (`\\u0061`), and then it does not. `key` is the record's own key that they
    are values of.
    """

    texts: tuple[str, ...]
    in_payload: bool
    key: str | None = None

    def as_we_write(self) -> tuple[str, ...]:
        """The texts as our own recorder writes them: longer, and so found sooner."""
        if self.key is None:
            return self.texts
        return tuple(
            f'"{self.key}":{text}' if text.startswith('"') else text for text in self.texts
        )

    @property
    def can_be_sought(self) -> bool:
        """Whether there are some, and no JSON has a need to write any otherwise."""
        return bool(self.texts) and all(map(_is_plain, self.texts))

    @property
    def length(self) -> int:
        """Of the shortest: the longer, the more it tells."""
        return min(map(len, self.texts), default=0)


def in_record(key: str, *values: str) -> Literals:
    """One of these is the whole value of one of the record's own keys."""
    return Literals(tuple(f'"{value}"' for value in values), in_payload=False, key=key)


def ending_in_record(key: str, values: tuple[str, ...], *, least: int) -> Literals:
    """One of these is the value of one of the record's own keys, or its end.

    Those of fewer than `least` characters are whole values only.
    """
    texts = tuple(f'{value}"' if len(value) >= least else f'"{value}"' for value in values)
    return Literals(texts, in_payload=False, key=key)


def in_payload(text: str, *, quoted: bool = False) -> Literals:
    """A text in the payload; `quoted`: all of a key or value of it, which is JSON in JSON."""
    return Literals((f'\\"{text}\\"' if quoted else text,), in_payload=True)


def _is_plain(text: str) -> bool:
    inside = text
    for quote in ('\\"', '"'):
        if text.startswith(quote) and text.endswith(quote) and len(text) > 2 * len(quote):
            inside = text[len(quote) : -len(quote)]
            break
    else:
        inside = text.removesuffix('"')  # the end of a value
    return (
        bool(inside)
        and inside.isprintable()
        and inside.isascii()
        and _WRITTEN_OTHERWISE.isdisjoint(inside)
    )
