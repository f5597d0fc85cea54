"""Make text that others wrote harmless on a terminal, and measure what it takes there."""

from __future__ import annotations

import re
import unicodedata

from megabot_cli.recording.harmless_json import STEERING, harmless_text

_DANGEROUS = re.compile(f"[{STEERING}]")
_DANGEROUS_IN_A_LINE = re.compile(f"[\t\n{STEERING}]")
_WORDS = re.compile(r"`[^`\n]*`\S*|\S+")  # a command is one: it is copied, and typed as one line
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1b": "\\e"}


def _visible(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def safe_text(text: str) -> str:
    """`text` for a terminal: line breaks and tabs stay, other controls become visible."""
    return _DANGEROUS.sub(_visible, text.replace("\r\n", "\n"))


def safe_line(text: str) -> str:
    """`text` on one line: every control character becomes visible."""
    # Nothing that is printable can steer, and that is known at once.
    return text if text.isprintable() else _DANGEROUS_IN_A_LINE.sub(_visible, text)


def safe_json(text: str) -> str:
    """The same JSON value, with what could steer a terminal written as `\\uXXXX`."""
    return harmless_text(text)


def display_width(text: str) -> int:
    """The columns `text` takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 1 + (_is_wide(character)) for character in text
    )


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"


def fit(text: str, width: int) -> str:
    """`text` in at most `width` columns, ended by … where something was cut."""
    if display_width(text) <= width:
        return text
    if text.isascii():
        return text[: width - 1] + "…"
    kept: list[str] = []
    room = width - 1
    for character in text:
        room -= display_width(character)
        if room < 0:
            break
        kept.append(character)
    return "".join(kept) + "…"


def wrap(text: str, width: int, taken: int = 0) -> str:
    """`text` in lines of at most `width` columns, broken between words, of the first of which
    so many are `taken`. A word that is longer stays whole, and so does an indented line: it
    stands under something."""
    lines: list[str] = []
    for line in text.split("\n"):
        room = width - taken if not lines else width
        if display_width(line) <= room or line[:1].isspace():
            lines.append(line)
        else:
            lines += _broken(line, width, room)
    return "\n".join(lines)


def _broken(line: str, width: int, room: int) -> list[str]:
    lines = [""]
    for word in _WORDS.findall(line):
        if not lines[-1] or display_width(lines[-1]) + 1 + display_width(word) <= room:
            lines[-1] = f"{lines[-1]} {word}".lstrip()
        else:
            lines.append(word)
            room = width
    return lines
