"""Change single values of a record's line, and leave all else in it as it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from megabot_cli.recording.record import Record

KNOWN: Final = Record.__struct_fields__
_places: Final = {name: place for place, name in enumerate(KNOWN)}
_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def edit_line(line: bytes, changed: Mapping[str, Any]) -> bytes:
    """The line with other values; None takes a key out. Keys of later minor versions stay.

    Neither has a newline. The line must be one that `decode_line` reads.
    """
    fields = fields_of(line)
    if any(name not in fields and value is not None for name, value in changed.items()):
        # A new key stands where the format has it, before those that nobody knows.
        names = sorted({*fields, *changed}, key=lambda name: _places.get(name, len(KNOWN)))
        fields = {name: fields.get(name) for name in names}
    fields |= changed
    kept = {
        name: value for name, value in fields.items() if name not in changed or value is not None
    }
    return msgspec.json.encode(kept)


def unknown_fields(line: bytes, known: tuple[str, ...] = KNOWN) -> dict[str, Any]:
    """The keys of a line that this version does not know, with their JSON."""
    return {name: raw for name, raw in fields_of(line).items() if name not in known}


def fields_of(line: bytes) -> dict[str, Any]:
    """A line as its keys with their JSON. What is no UTF-8 in it becomes U+FFFD: where a key that
    nobody knows is passed over, nobody looks at its letters either."""
    return dict(_decoder.decode(line.decode("utf-8", "replace")))


def decode_fields(text: str) -> dict[str, Any]:
    """A JSON object as its keys with their JSON."""
    return dict(_decoder.decode(text))
