"""Headers of recordings that were made of other ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from megabot_cli.recording.format_v1 import Header, decode_header
from megabot_cli.recording.harmless_json import harmless
from megabot_cli.recording.line_edit import fields_of

HOLES: Final = "holes"
"""A label: records were left out on purpose, and `n` is still that of the source. A hole in
`n` proves no loss then; the label's value says what made it."""

MADE_FROM: Final = "made_from"
"""A label: the id of the recording that this one was cut from, or sanitized."""

CHOSEN: Final = "chosen"
"""A label: the words by which what is here was chosen (`recording/chosen_label`)."""

DUMPED_AT: Final = "dumped_at"
"""A label: when a flight recorder wrote down what it had kept, an ISO time."""


def derived_header(
    line: bytes,
    *,
    recording: str,
    tool: str,
    labels: Mapping[str, str],
    without: Sequence[str] = (),
    **changed: Any,
) -> bytes:
    """The header line of a recording made of one with this `line`, no newline on either.

    `previous` becomes the source's name, and the label `made_from` the recording that all was
    made of first. Keys of a later minor version stay, and labels but for those `without`;
    `changed` are other keys with their new values. An empty `line` is a source that has lost
    its header.
    """
    header = decode_header(line) if line else Header(recording="")
    fields = fields_of(line) if line else _fields_of(header)
    kept = {name: value for name, value in header.labels.items() if name not in without}
    origin = origin_of(header)
    fields |= {
        "recording": recording,
        "segment": 1,
        "previous": _name_of(header),
        "tool": tool,
        "labels": {
            **kept,
            **({MADE_FROM: origin} if origin and MADE_FROM not in without else {}),
            **labels,
        },
        **changed,
    }
    return harmless(msgspec.json.encode(fields))


def origin_of(header: Header) -> str:
    """The id of the recording that all of it came from first; empty where nobody knows."""
    return header.labels.get(MADE_FROM) or header.recording


def _fields_of(header: Header) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(header)
    return fields


def _name_of(header: Header) -> str | None:
    """What a header's `previous` calls this segment; None for what has no name."""
    return f"{header.recording}/{header.segment:06d}.jsonl" if header.recording else None
