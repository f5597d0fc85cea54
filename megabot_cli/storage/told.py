"""What is told of a record that is to be written: the same words for all who keep some."""

from __future__ import annotations

from typing import Any, Final, TypedDict


class Told(TypedDict, total=False):
    """The fields of a record (see `man 5 megabot-recording`), but for what the writer adds.

    `data` is the exact text that travelled, or the bytes with `opcode="binary"`; `size` and
    `redacted` are for what was a record before, when that is no longer so.
    """

    direction: str | None
    client: str | None
    link: str | None
    session: str | None
    user: str | None
    id: str | None
    type: str | None
    reply_to: str | None
    opcode: str | None
    data: bytes | str | None
    code: int | None
    reason: str | None
    by: str | None
    note: str | None
    size: int | None
    redacted: list[str] | None


FIELDS: Final = tuple(Told.__annotations__)


def item_of(at_ns: int, kind: str, told: Told) -> tuple[Any, ...]:
    """The item that waits to be written (`recording_writer.Item`)."""
    return (at_ns, kind, *map(told.get, FIELDS))
