"""Several recordings made one: by wall time, with clients and links that stay apart."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from megabot_cli.errors import BadData
from megabot_cli.recording.chosen_label import narrowed_label
from megabot_cli.recording.derived_header import CHOSEN, HOLES, MADE_FROM, derived_header, origin_of
from megabot_cli.recording.format_v1 import VERSION, Header, encode_record
from megabot_cli.recording.har import unix_us
from megabot_cli.recording.line_edit import edit_line
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Chooser, Selection
from megabot_cli.storage.choosing import NO_MARK
from megabot_cli.storage.converting import TOOL, Converted, label_of, new_recording_id
from megabot_cli.storage.losses import EVERYTHING, gap_at_end
from megabot_cli.storage.record_reader import SourceReader
from megabot_cli.storage.sealed_segment import SealedSegment, Write

_MOST_NAMED: Final = 20


class _Source(msgspec.Struct):
    """One recording under way. Recordings cut from one another share an `origin`."""

    place: int
    reader: SourceReader
    header: Header
    started_us: int
    origin: str


Moment = tuple[int, _Source, Record, bytes, int]


def merge(
    readers: Sequence[SourceReader],
    names: Sequence[str],
    write: Write,
    seen: Callable[[int], object] = bool,
    wanted: Selection = EVERYTHING,
) -> Converted:
    """Write the records of all readers as one recording, numbered anew.

    What is `wanted` is chosen of all of them together, in the order of the result: places are
    there, but names and numbers are still those of the sources.
    BadData, naming the recording by its `names`, for one that does not say when it began. A
    hole in a source becomes a `gap`, for its numbers are gone. `seen` is told now and then how
    many more have passed.
    """
    sources = [
        _source(n, reader, name)
        for n, (reader, name) in enumerate(zip(readers, names, strict=True))
    ]
    started_us = min(source.started_us for source in sources)
    first = next(source for source in sources if source.started_us == started_us)
    segment = SealedSegment(write, _header(sources, first, wanted))
    chooser = wanted.chooser(started_us / 1e6)
    renaming = _Renaming()
    n = 0
    moments = heapq.merge(*map(_moments, sources), key=lambda moment: (moment[0], moment[1].place))
    chosen = moments if wanted.everything else _chosen(moments, chooser, started_us)
    for at_us, source, record, line, lost in chosen:
        t = at_us - started_us
        if lost:
            n += 1
            gap = Record(n=n, t=t, kind="gap", lost=lost, note=f"a hole in {source.origin}")
            segment.add(gap, encode_record(gap)[:-1])
        if record is None:
            continue
        n += 1
        changed: dict[str, Any] = {"n": n, "t": t, **renaming.of(record, source.origin)}
        record.n, record.t = n, t
        segment.add(record, edit_line(line, changed))
        if segment.records % 1000 == 0:
            seen(1000)
    segment.seal()
    for name in chooser.unseen_marks:
        sources[0].reader.warnings.append(f"{NO_MARK} {name!r} in any of them")
    return Converted(segment.records)


def _chosen(
    moments: Iterable[Moment], chooser: Chooser, started_us: int
) -> Iterator[tuple[int, _Source, Record | None, bytes, int]]:
    """The moments that are wanted; of one that is not what was lost before it, where something
    that is might have been."""
    waiting = deque[tuple[Moment, bool]]()  # and whether it stands between the bounds
    for moment in moments:
        at_us, _, record, line, _ = moment
        record.t = at_us - started_us
        given = {id(each) for each, _ in chooser.offer(record, line)}
        waiting.append((moment, bool(given) or chooser.is_within))
        while waiting and waiting[0][0][2] is not chooser.undecided:
            (at_us, source, record, line, lost), within = waiting.popleft()
            tells_end = record.n == 0 and within
            if id(record) in given or tells_end:
                yield at_us, source, record, line, lost
            elif lost and within:
                yield at_us, source, None, b"", lost
        if chooser.finished:
            return
    for (at_us, source, record, line, lost), within in waiting:
        if record.n == 0:
            yield at_us, source, record, line, lost
        elif lost and within:
            yield at_us, source, None, b"", lost


def _source(place: int, reader: SourceReader, name: str) -> _Source:
    header = reader.header
    started_us = unix_us(header.started_at) if header is not None else None
    if header is None or started_us is None:
        raise BadData(f"{name} does not say when it began, so it cannot be merged.")
    origin = origin_of(header) or name
    return _Source(place, reader, header, started_us, origin)


def _header(sources: Sequence[_Source], first: _Source, wanted: Selection) -> bytes:
    """The header of the earliest, with what all have in common."""
    names = ",".join(source.header.recording or source.origin for source in sources[:_MOST_NAMED])
    newest = max((source.header.version for source in sources), key=_minor, default=VERSION)
    labels = {"made_by": "merge", "made_of": names + (",…" if sources[_MOST_NAMED:] else "")}
    if not wanted.everything:
        labels[CHOSEN] = label_of(wanted, _common_choice(sources), first.started_us / 1e6)
    return derived_header(
        first.reader.header_line,
        recording=new_recording_id(),
        tool=TOOL,
        labels=labels,
        without=(HOLES, MADE_FROM, CHOSEN),
        previous=None,
        version=newest,
        upstream=_common(source.header.upstream for source in sources),
        redaction=_common(source.header.redaction for source in sources),
    )


def _common_choice(sources: Sequence[_Source]) -> str | None:
    """By which words all of them were chosen before."""
    found = {source.header.labels.get(CHOSEN) for source in sources}
    return found.pop() if len(found) == 1 else narrowed_label(None)


def _minor(version: str) -> int:
    return int(version.partition(".")[2])


def _common(values: Iterable[str]) -> str:
    found = set(values)
    return found.pop() if len(found) == 1 else ""


def _moments(source: _Source) -> Iterator[Moment]:
    """The records of a source by wall time, which never goes back, and what it lost before each."""
    at_us = source.started_us
    for record, line, lost in source.reader.numbered():
        at_us = max(at_us, source.started_us + record.t)
        yield at_us, source, record, line, lost
    for gap, line in gap_at_end(0, 0, source.reader):
        yield at_us, source, gap, line, 0


class _Renaming:
    """Gives a name that several recordings use to the first of them; others get a number."""

    def __init__(self) -> None:
        self._owners: dict[tuple[str, str], list[str]] = {}

    def of(self, record: Record, origin: str) -> dict[str, str]:
        """The keys of a record that need another value."""
        changed = {}
        for key in ("client", "link"):
            name = getattr(record, key)
            if name is not None and (renamed := self._name(key, name, origin)) != name:
                changed[key] = renamed
        return changed

    def _name(self, key: str, name: str, origin: str) -> str:
        owners = self._owners.setdefault((key, name), [])
        if origin not in owners:
            owners.append(origin)
        number = owners.index(origin)
        return f"{name}@{number + 1}" if number else name
