"""What an assistant hears of the files that came with a `chat_send`.

The specification shows `attachments` as a list and says nothing of what is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MOST_NAMED = 20
MOST_NAME_CHARACTERS = 100

_NAMES = ("name", "filename", "title", "url", "path", "id")


def with_attachments(content: str, attachments: Sequence[Any]) -> str:
    """What was said, and below it what was attached, by name; no file is ever opened."""
    if not attachments:
        return content
    names = [_name_of(one) for one in attachments[:MOST_NAMED]]
    more = len(attachments) - len(names)
    listed = ", ".join(names) + (f" and {more} more" if more else "")
    return f"{content}\n\n[attached: {listed}]"


def _name_of(attachment: Any) -> str:
    if isinstance(attachment, dict):
        attachment = next(
            (attachment[key] for key in _NAMES if isinstance(attachment.get(key), str)), None
        )
    if not isinstance(attachment, str) or not attachment.strip():
        return "something without a name"
    line = " ".join("".join(c if c.isprintable() else " " for c in attachment).split())
    if line.startswith("data:"):
        line = line.partition(",")[0]  # a file as a URL: what follows is the file itself
    return line if len(line) <= MOST_NAME_CHARACTERS else line[:MOST_NAME_CHARACTERS] + "…"
