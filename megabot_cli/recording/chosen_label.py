"""By which words a part of a recording was chosen: what its header's label `chosen` says.

The words are those of `recordings cut`; of a part of a part those of both, with a `|` between.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Final

import msgspec

from megabot_cli.errors import WrongUsage
from megabot_cli.recording.bounds import Place, parse_place
from megabot_cli.recording.selection import Selection

_BETWEEN: Final = "|"
_UNTOLD: Final = "…"
_LONGEST: Final = 4096  # characters that are read of what may be a stranger's
_LISTS: Final = {
    "--type": "types",
    "--session": "sessions",
    "--client": "clients",
    "--user": "users",
    "--link": "links",
    "--id": "ids",
}
_PLACES: Final = {"--from": "begin", "--until": "until"}
_ANYWHERE: Final = frozenset({"types", "direction"})


def chosen_label(wanted: Selection, before: str | None, started_at_s: float) -> str:
    """What to write of a part that `wanted` chose, from what itself was chosen by `before`.

    Expressions are not written out: a secret may stand in one.
    """
    words = " ".join(map(shlex.quote, _words(wanted, started_at_s)))
    return f" {_BETWEEN} ".join(filter(None, (before, words)))


def narrowed_label(before: str | None) -> str:
    """The same of a part from which something was left out that no word of `cut` names."""
    return f" {_BETWEEN} ".join(filter(None, (before, _UNTOLD)))


def _words(wanted: Selection, started_at_s: float) -> Iterator[str]:
    for flag, name in _LISTS.items():
        for value in getattr(wanted, name):
            yield from (flag, value)
    if wanted.direction is not None:
        yield from ("--direction", wanted.direction)
    for flag, name in _PLACES.items():
        place: Place | None = getattr(wanted, name)
        if place is not None:
            yield from (flag, _spelled(place.settled(started_at_s)))
    if wanted.grep is not None:
        yield from ("--grep", _UNTOLD)
    if wanted.where is not None:
        yield from ("--where", _UNTOLD)
    if wanted.limit is not None:
        yield from ("--limit", str(wanted.limit))
    if wanted.around:
        yield from ("--around", str(wanted.around))


def _spelled(place: Place) -> str:
    if place.kind == "offset":
        text = f"{place.value // 1_000_000}.{place.value % 1_000_000:06d}"
        return text.rstrip("0").rstrip(".") + "s"
    return f"n={place.value}" if place.kind == "number" else f"mark={place.name}"


def read_chosen(label: str, *, same_source: bool) -> tuple[Selection, ...] | None:
    """What chose, to be asked of a recording too; None where that cannot be said.

    All must hold. Of a recording of another source only types and direction can be asked.
    """
    if len(label) > _LONGEST:
        return None
    try:
        words = shlex.split(label)
        found = tuple(map(_selection, _parted(words)))
    except (ValueError, WrongUsage):
        return None
    if not same_source and any(_used(each) - _ANYWHERE for each in found):
        return None
    return found


def _parted(words: list[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for word in words:
        if word == _BETWEEN:
            yield part
            part = []
        else:
            part.append(word)
    yield part


def _selection(words: list[str]) -> Selection:
    """ValueError or WrongUsage for words that say nothing that can be asked again."""
    fields: dict[str, object] = {}
    for flag, value in zip(words[::2], words[1::2], strict=True):
        if flag in _LISTS:
            name = _LISTS[flag]
            so_far = fields.get(name, ())
            assert isinstance(so_far, tuple)
            fields[name] = (*so_far, value)
        elif flag in _PLACES:
            fields[_PLACES[flag]] = parse_place(value, flag)
        elif flag == "--direction" and value in ("to_upstream", "to_client"):
            fields["direction"] = value
        else:
            raise ValueError(flag)
    return msgspec.convert(fields, Selection)


def _used(wanted: Selection) -> set[str]:
    return {
        field
        for field in Selection.__struct_fields__
        if getattr(wanted, field) != getattr(Selection(), field)
    }
