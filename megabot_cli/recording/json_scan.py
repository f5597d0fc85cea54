"""Walk through a JSON document of any size in pieces, to find where its values stand.

Only the outline is checked; whoever takes a value out decodes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, Literal, NamedTuple

DEEPEST: Final = 200
_LONGEST_KEPT: Final = 64 * 1024  # of a string; a longer one is passed over
_LONGEST_WORD: Final = 4096  # a number or `null`; nothing sane is longer

_OUTSIDE = re.compile(rb"[ \t\r\n]*+(?:(?P<sign>[{}\[\]:,\"])|(?P<word>[^ \t\r\n{}\[\]:,\"]++))")
_INSIDE = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
# An object with no other in it and no array, taken at once: twenty times as fast.
_FLAT = re.compile(rb'\{(?:[^"{}\[\]\\]++|"(?:[^"\\]++|\\.)*+")*+\}', re.DOTALL)

Kind = Literal["{", "}", "[", "]", ":", ",", "string", "word", "flat"]


class Torn(Exception):
    """The document ends in the middle, at byte `offset`."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"ends in the middle, at byte {offset}")
        self.offset = offset


class NoDocument(ValueError):
    """What stands there is no JSON, or nested deeper than any honest document."""


class Token(NamedTuple):
    """A sign, a string, a word or a flat object, from byte `start` to `end` of the document.

    `text` is what stands between a string's quotes, or all of the other two; None where that
    is too long to be kept.
    """

    kind: Kind
    start: int
    end: int
    text: bytes | None = None


class Place(NamedTuple):
    """A value: `begin` and `end` of an object or array, or another in whole.

    `names` are the keys and indexes that lead to it, outermost first; the list changes as
    the walk goes on.
    """

    event: Literal["begin", "end", "string", "word", "flat"]
    names: list[str | int]
    start: int
    end: int
    text: bytes | None = None


def tokens(chunks: Iterable[bytes], offset: int = 0, *, flat: bool = False) -> Iterator[Token]:
    """Split a document into its tokens; `chunks` begin at its byte `offset`.

    With `flat` most objects that hold neither object nor array are one token, their inside
    not looked at.
    Raises Torn where it ends inside a string, NoDocument for an endless word.
    """
    return _Tokens(chunks, offset, flat=flat).all()


class _Tokens:
    """What has been read and not given yet: `_buffer` begins at byte `_offset`."""

    def __init__(self, chunks: Iterable[bytes], offset: int, *, flat: bool) -> None:
        self._flat = flat
        self._chunks = iter(chunks)
        self._buffer = b""
        self._offset = offset
        self._at = 0

    def all(self) -> Iterator[Token]:
        while True:
            match = _OUTSIDE.match(self._buffer, self._at)
            if match is None:
                self._at = len(self._buffer)  # white space, which nobody needs
                if not self._more():
                    return
            elif match["word"] is not None:
                if match.end() == len(self._buffer) and self._word_goes_on(match.start("word")):
                    continue
                yield self._token("word", *match.span("word"), match["word"])
                self._at = match.end()
            elif match["sign"] == b'"':
                yield self._string(match.end())
            elif self._flat and (whole := self._flat_object(match)) is not None:
                yield whole
            else:
                self._at = match.end()
                sign: Kind = match["sign"].decode()  # type: ignore[assignment]
                yield self._token(sign, *match.span("sign"))

    def _flat_object(self, match: re.Match[bytes]) -> Token | None:
        if match["sign"] != b"{":
            return None
        whole = _FLAT.match(self._buffer, match.start("sign"))
        if whole is None:
            return None
        self._at = whole.end()
        return self._token("flat", *whole.span(), whole[0])

    def _token(self, kind: Kind, start: int, end: int, text: bytes | None = None) -> Token:
        return Token(kind, self._offset + start, self._offset + end, text)

    def _more(self) -> bool:
        """Read on; what was given already is forgotten."""
        chunk = next(self._chunks, b"")
        self._offset += self._at
        self._buffer = self._buffer[self._at :] + chunk
        self._at = 0
        return bool(chunk)

    def _word_goes_on(self, start: int) -> bool:
        """Whether more of a word that reaches to the end of the buffer may come."""
        if len(self._buffer) - start > _LONGEST_WORD:
            raise NoDocument(f"is no JSON at byte {self._offset + start}")
        self._at = start
        return self._more()

    def _string(self, at: int) -> Token:
        start = self._offset + at - 1
        pieces: list[bytes] = []
        kept = 0
        self._at = at
        while True:
            match = _INSIDE.match(self._buffer, self._at)
            assert match is not None  # it matches nothing too
            if kept <= _LONGEST_KEPT:
                pieces.append(match[0])
                kept += len(match[0])
            self._at = match.end()
            if self._buffer[self._at : self._at + 1] == b'"':
                self._at += 1
                text = b"".join(pieces) if kept <= _LONGEST_KEPT else None
                return Token("string", start, self._offset + self._at, text)
            if not self._more():
                raise Torn(self._offset + len(self._buffer))


def walk(found: Iterable[Token]) -> Iterator[Place]:
    """Give every value of a document with the keys that lead to it.

    Raises Torn where the document ends too soon, NoDocument where it is none.
    """
    outline = _Outline()
    end = 0
    for token in found:
        place = outline.take(token)
        if place is not None:
            yield place
        end = token.end
    if outline.closing:
        raise Torn(end)


class _Outline:
    """Which objects and arrays are open, and where in them we are."""

    def __init__(self) -> None:
        self.names: list[str | int] = []
        self.closing: list[str] = []
        self._awaits_key = False
        self._key: bytes | None = None

    def take(self, token: Token) -> Place | None:
        kind, start, end, text = token
        if kind in ("{", "["):
            return self._open(token)
        if kind in ("}", "]"):
            return self._close(token)
        if kind == ":":
            self._name(token)
        elif kind == ",":
            self._next(token)
        elif self._awaits_key and kind == "string":
            self._key = text if text is not None else b""
        elif kind in ("string", "word", "flat"):
            return Place(kind, self.names, start, end, text)
        return None

    def _open(self, token: Token) -> Place:
        if len(self.closing) >= DEEPEST:
            raise NoDocument(f"is nested deeper than {DEEPEST} levels at byte {token.start}")
        # Whoever is given the place sees the names that lead to it, not what comes below.
        place = Place("begin", list(self.names), token.start, token.end)
        is_object = token.kind == "{"
        self.closing.append("}" if is_object else "]")
        self.names.append("" if is_object else 0)
        self._awaits_key = is_object
        return place

    def _close(self, token: Token) -> Place:
        if not self.closing or self.closing.pop() != token.kind:
            raise _no_json(token)
        self.names.pop()
        self._awaits_key = False
        return Place("end", self.names, token.start, token.end)

    def _name(self, token: Token) -> None:
        if self._key is None or not self._awaits_key:
            raise _no_json(token)
        self.names[-1] = self._key.decode("utf-8", "replace")
        self._key, self._awaits_key = None, False

    def _next(self, token: Token) -> None:
        if not self.names:
            raise _no_json(token)
        last = self.names[-1]
        self._awaits_key = self.closing[-1] == "}"
        self.names[-1] = "" if isinstance(last, str) else last + 1


def _no_json(token: Token) -> NoDocument:
    return NoDocument(f"is no JSON at byte {token.start}")


def elements(found: Iterable[Token]) -> Iterator[tuple[int, int]]:
    """Where the elements of an array begin and end, in bytes; its `[` is the first token."""
    depth = 0
    start = 0
    for kind, begin, end, _ in found:
        if kind in ("{", "["):
            depth += 1
            start = begin if depth == 2 else start
        elif kind in ("}", "]"):
            depth -= 1
            if depth == 0:
                return
            if depth == 1:
                yield start, end
        elif depth == 1 and kind in ("string", "word", "flat"):
            yield begin, end
