r"""Seek a regular expression in a payload, also where letters are written as escapes of JSON.

Many write `café` as `caf\u00e9` (Python's `json.dumps` does unless told otherwise), and some `<b>`
as `\u003cb\u003e`, for a page of HTML (Go's `encoding/json`, .NET's `System.Text.Json`). An
expression that names none of these is sought in the text as it travelled and nowhere else, which
costs nothing more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from megabot_cli.recording.plain_pattern import needed_texts

_ESCAPE_IN_PATTERN = re.compile(r"\\(.)", re.DOTALL)
_NAMES_A_LETTER = frozenset("xuUN01234567")
# Any escape is read as a whole, so that of `\\u00e9`, a backslash and five characters, no part is.
_ESCAPE = re.compile(
    r"\\(?:u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|u(?P<code>[0-9a-fA-F]{4})|.)",
    re.DOTALL,
)
_UNSAFE_IN_HTML = "<>&'+`"
_UNSAFE = frozenset(_UNSAFE_IN_HTML)
# What stands in a line of a recording as it is said, whoever wrote it; and what does but for those.
_WRITTEN_ONE_WAY = re.compile(rf"[^\x80-\U0010ffff{_UNSAFE_IN_HTML}\"\\/]+")
_OF_ASCII = re.compile(r"[^\x80-\U0010ffff\"\\/]+")
_TELLING = 6  # letters: fewer stand in too many lines


def seeker(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    """Whether the pattern is found in a text of JSON."""
    search, source = pattern.search, pattern.pattern
    needed = _longest(needed_texts(source))

    def is_found(text: str) -> bool:
        if needed not in text:
            return False  # to read the escapes takes three times as long as this
        return search(_read(text) if "\\u" in text else text) is not None

    if not _is_of_ascii(source):
        return is_found
    if _UNSAFE.isdisjoint(source):
        return lambda text: search(text) is not None
    # Of what names ASCII alone the escapes themselves may be meant.
    return lambda text: search(text) is not None or ("\\u" in text and is_found(text))


def texts_to_find(source: str) -> tuple[str, ...]:
    """Texts of which one stands in each line in which the expression is found, as long as can be;
    none where it is more than a text, or has no letter of which that can be said."""
    if re.escape(source).replace("\\ ", " ").replace("\\&", "&") != source:
        return ()
    run = _longest([source])
    if len(run) < _TELLING:
        run = _longest([source], _OF_ASCII)
    # It stands there, or one of these in it as an escape, whose last digit is written in two ways.
    escapes = sorted({f"u{ord(each):04x}"[:-1] for each in _UNSAFE.intersection(run)})
    return (run, *escapes) if run else ()


def _longest(texts: Sequence[str], of: re.Pattern[str] = _WRITTEN_ONE_WAY) -> str:
    return max((run for text in texts for run in of.findall(text)), key=len, default="")


def _is_of_ascii(source: str) -> bool:
    return source.isascii() and _NAMES_A_LETTER.isdisjoint(_ESCAPE_IN_PATTERN.findall(source))


def _read(text: str) -> str:
    """The text with its letters beyond ASCII, and what HTML has a use for, as they are; all else
    stays as it was written."""
    return _ESCAPE.sub(_letter, text)


def _letter(escape: re.Match[str]) -> str:
    if high := escape["high"]:
        return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(escape["low"], 16) - 0xDC00)
    code = escape["code"]
    letter = chr(int(code, 16)) if code else ""
    return letter if letter > "\x7f" or letter in _UNSAFE else escape[0]
