r"""Seek a regular expression in a payload, also where letters are written as escapes of JSON.

Many write `café` as `caf\u00e9` (Python's `json.dumps` does unless told otherwise). An expression
that names no letter beyond ASCII is sought in the text as it travelled and nowhere else, which
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
_ASCII = re.compile(r"[^\x80-\U0010ffff]+")


def seeker(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    """Whether the pattern is found in a text of JSON."""
    search = pattern.search
    if _is_of_ascii(pattern.pattern):
        return lambda text: search(text) is not None
    needed = _longest_of_ascii(needed_texts(pattern.pattern)) or ""

    def is_found(text: str) -> bool:
        if needed not in text:
            return False  # to read the escapes takes three times as long as this
        return search(_read(text) if "\\u" in text else text) is not None

    return is_found


def text_to_find(source: str) -> str | None:
    """A text that stands in each line in which the expression is found, as long as can be; None
    where it is more than a text, or has no letter that is written in one way only."""
    if re.escape(source).replace("\\ ", " ") != source:
        return None
    return _longest_of_ascii([source])


def _longest_of_ascii(texts: Sequence[str]) -> str | None:
    runs = [run for text in texts for run in _ASCII.findall(text)]
    return max(runs, key=len, default=None)


def _is_of_ascii(source: str) -> bool:
    return source.isascii() and _NAMES_A_LETTER.isdisjoint(_ESCAPE_IN_PATTERN.findall(source))


def _read(text: str) -> str:
    """The text with its letters beyond ASCII as they are; all else stays as it was written."""
    return _ESCAPE.sub(_letter, text)


def _letter(escape: re.Match[str]) -> str:
    if high := escape["high"]:
        return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(escape["low"], 16) - 0xDC00)
    code = escape["code"]
    letter = chr(int(code, 16)) if code else ""
    return letter if letter > "\x7f" else escape[0]
