"""The same JSON, in characters that steer no terminal which it is shown on.

What travelled stays as it is written in a recording; what we write ourselves, out of what others
named, need not be dangerous to look at with `cat`.
"""

from __future__ import annotations

import re
from typing import Final

# What can move the cursor, set a title, fill the clipboard or reorder a line: C0 without
# tab and line feed, DEL, C1, the direction marks and overrides, and the separators that
# some terminals break a line at.
STEERING: Final = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff"
)
_STEERING: Final = re.compile(f"[{STEERING}]")


def harmless_text(text: str) -> str:
    """JSON, with what could steer a terminal written as `\\uXXXX`.

    Such characters can stand nowhere in JSON but inside a string, white space apart.
    """
    return text if text.isprintable() else _STEERING.sub(_escaped, text)


def harmless(content: bytes) -> bytes:
    """As `harmless_text`, of JSON that was just encoded."""
    if content.isascii() and b"\x7f" not in content:
        return content  # an encoder escapes the others
    return harmless_text(content.decode()).encode()


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
