"""Which recordings there are, without reading them through, and which one a name means."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from megabot_cli.errors import BadData, MegabotError, NotFound
from megabot_cli.recording.derived_header import DUMPED_AT
from megabot_cli.recording.format_v1 import MAX_LINE_BYTES, BadLine, End, Header, decode_line
from megabot_cli.recording.record import Record
from megabot_cli.storage.compressing import ENDING, last_lines
from megabot_cli.storage.index_file import index_bytes, remove_index
from megabot_cli.storage.line_source import cannot_read
from megabot_cli.storage.recording_folder import (
    is_live,
    name_now,
    recording_files,
    recording_folders,
    segments_of,
)
from megabot_cli.storage.recording_reader import open_recording

_TAIL_BYTES: Final = 64 * 1024
_LOOKS_AGAIN: Final = 2
_MOST_SHOWN: Final = 5
RECORDS: Final = "`megabot relay` records while it runs."


class RecordingInfo(msgspec.Struct, frozen=True):
    """What a list says of one recording.

    `started_at` is an ISO time, empty where nobody knows; `made_at` is the same, but for what a
    flight recorder kept: then it is when that was written, and began some time before; `records`
    counts what was recorded, without the format's own `end` lines; `bytes` are those of all its
    files, with indexes; `clean` means sealed, `live` that somebody is writing it now.
    """

    id: str
    path: Path
    started_at: str
    upstream: str
    tool: str
    records: int
    bytes: int
    duration_s: float
    segments: int
    clean: bool
    live: bool
    made_at: str = ""

    @property
    def name(self) -> str:
        """What it is called in its folder: a file often has the id of what it was made of."""
        return self.path.name if self.path.is_file() else self.id


class Unreadable(msgspec.Struct, frozen=True):
    """A recording, the folder of its segments or one file, that cannot be read, and why; `at` is
    when something was written there last (Unix time)."""

    name: str
    why: str
    at: float = 0.0


def list_recordings(
    folder: Path, unreadable: list[Unreadable] | None = None
) -> list[RecordingInfo]:
    """The recordings in `folder`, newest first: folders of segments, and single files. What
    cannot be read as one is left out, and put among the `unreadable`."""
    found = []
    for path in recordings_in(folder):
        try:
            found.append(describe_recording(path))
        except (NotFound, FileNotFoundError):
            continue  # removed while we looked
        except MegabotError as fault:
            if unreadable is not None:
                why = _why(fault).removeprefix(f"{path.name}: ")
                unreadable.append(Unreadable(path.name, why, _written_at(path)))
    return newest_first(found)


def recordings_in(folder: Path) -> list[Path]:
    """The paths of the recordings in `folder`, unread: single files first, then folders."""
    return recording_files(folder) + recording_folders(folder)


def newest_first(found: Iterable[RecordingInfo]) -> list[RecordingInfo]:
    """Of what began at one time, a folder of segments before a file that was made of it."""
    return sorted(found, key=_age, reverse=True)


def _age(info: RecordingInfo) -> tuple[float, bool, str]:
    return _unix_time(info.made_at), info.path.is_dir(), info.id


def recordings_at(
    folder: Path, place: str, unreadable: list[Unreadable] | None = None
) -> list[RecordingInfo]:
    """The recordings at a place that an operator means: those in a folder of that name, which may
    be none, else the one of it that `find_recording` finds.

    NotFound or BadData where there is none; what cannot be read in a folder is put among the
    `unreadable`.
    """
    path = Path(place)
    if path.is_dir():
        try:
            if not segments_of(path):
                return list_recordings(path, unreadable)
        except OSError as fault:
            raise cannot_read(path, fault) from fault
    found = path if path.is_dir() else find_recording(folder, place, unreadable)
    if not (found.is_dir() or found.is_file()):  # a pipe is read once, which is not enough
        raise BadData(f"{place} is no file or folder.", "Of a stream, `recordings stats` tells.")
    return [describe_recording(found)]


def _written_at(recording: Path) -> float:
    with contextlib.suppress(OSError):
        segments = segments_of(recording) if recording.is_dir() else [recording]
        return max(segment.stat().st_mtime for segment in segments)
    return 0.0


def _unix_time(stamp: str) -> float:
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _made_at(header: Header | None, first: Path) -> str:
    """When a recording was made; one whose header does not say, when its first segment was."""
    if header is not None:
        for stamp in (header.labels.get(DUMPED_AT, ""), header.started_at):
            if _unix_time(stamp):
                return stamp
    written_at = datetime.fromtimestamp(first.stat().st_mtime, UTC)
    return written_at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _why(fault: MegabotError) -> str:
    """What to install belongs to it; where to look for recordings does not, in a list of them."""
    wants_newer = fault.hint is not None and fault.hint.startswith("Install")
    return f"{fault.message} {fault.hint}" if wants_newer else fault.message


def describe_recording(path: Path) -> RecordingInfo:
    """Read the first and the last line of a recording (a folder or one file)."""
    for _ in range(_LOOKS_AGAIN):
        try:
            return _described(path)
        except (NotFound, FileNotFoundError):
            if not path.is_dir():
                raise
            # A segment was sealed, packed or removed while we looked.
    return _described(path)


def _described(path: Path) -> RecordingInfo:
    with open_recording(path) as reader:
        header = reader.header
        first = next(iter(reader), None)
    segments = segments_of(path) if path.is_dir() else [path]
    if not segments:
        raise NotFound(f"There is no recording {path}.")
    newest = _last_line(segments[-1])
    last = newest
    if newest is None and len(segments) > 1:
        last = _last_line(segments[-2])  # the newest has only just been begun
    # Every sealed segment but an unclean last one has spent one number on its `end`.
    ends = len(segments) if isinstance(newest, End) else len(segments) - 1
    records = 0
    if isinstance(newest, End) and len(segments) == 1 and newest.records is not None:
        records = newest.records
    elif first is not None and last is not None:
        records = last.n - ends - (first.n - 1)  # of those that are still there
    live = is_live(path, segments[-1])
    return RecordingInfo(
        id=header.recording if header is not None else path.name,
        path=path,
        started_at=header.started_at if header is not None else "",
        upstream=header.upstream if header is not None else "",
        tool=header.tool if header is not None else "",
        records=max(0, records),
        bytes=sum(map(_bytes_of, segments)),
        duration_s=last.t / 1e6 if last is not None else 0.0,
        segments=len(segments),
        clean=isinstance(newest, End) and header is not None and not live,
        live=live,
        made_at=_made_at(header, segments[0]),
    )


def _bytes_of(segment: Path) -> int:
    """Those of a segment with its index, also where it has another name by now; 0 for none."""
    with contextlib.suppress(FileNotFoundError):
        return segment.stat().st_size + index_bytes(segment)
    now = name_now(segment)
    return now.stat().st_size + index_bytes(now) if now is not None else 0


def remove_if_empty(recording: Path) -> None:
    """Remove the folder of a recording that nobody writes any more, if it holds no record."""
    with contextlib.suppress(OSError, MegabotError):
        segments = segments_of(recording)
        found = describe_recording(recording)
        if segments and not found.records and not found.live:
            for segment in segments:
                segment.unlink()
                remove_index(segment)
            recording.rmdir()


def _last_line(segment: Path) -> Record | End | None:
    """The last whole record of a segment, from its end, also where it has another name by now;
    None when there is none."""
    try:
        return _last_line_of(segment)
    except FileNotFoundError:
        now = name_now(segment)
        if now is None:
            raise
        return _last_line_of(now)


def _last_line_of(segment: Path) -> Record | End | None:
    if segment.suffix == ENDING:
        for line in reversed(last_lines(segment)):
            with contextlib.suppress(BadLine):
                return decode_line(line)
    if segment.suffix in (".gz", ENDING):
        return _last_of_all(segment)
    size = segment.stat().st_size
    reach = _TAIL_BYTES
    with segment.open("rb") as file:
        while True:
            file.seek(max(0, size - reach))
            lines = file.read(reach).split(b"\n")
            # The first is cut, or the header; the last is torn, or empty.
            for line in reversed(lines[1:]):
                try:
                    return decode_line(line)
                except BadLine:
                    continue
            if reach >= min(size, MAX_LINE_BYTES):
                return None
            reach *= 4


def _last_of_all(segment: Path) -> Record | End | None:
    last: Record | End | None = None
    with open_recording(segment) as reader:
        for part in reader.segments():
            for record, _ in part:
                last = record
            last = part.end or last
    return last


def find_recording(folder: Path, name: str, unreadable: list[Unreadable] | None = None) -> Path:
    """The recording that an operator means: a path, `last`, an id, or the start of one id.

    A folder in which one recording lies stands for that; what is called as was typed comes before
    what only begins so. NotFound when there is none, or when
    several lie there or their ids start so, and for no name, which begins any id. Among the
    `unreadable` are put those that may be newer than the last.
    """
    if not name:
        raise NotFound("No recording is named.", _what_there_is(folder))
    if os.sep in name or name in (".", "..") or Path(name).is_file():
        if Path(name).exists():
            return _only_recording(Path(name))
        raise NotFound(f"There is no recording {name}.", _what_there_is(folder))
    if name == "last":
        return _newest(folder, unreadable)
    names = [path.name for path in recording_folders(folder)]
    if not any(each.startswith((name, f"rec_{name}")) for each in names):
        names = [path.name for path in recording_files(folder)]
    if name not in names and _holds_recordings(Path(name)):
        return _only_recording(Path(name))
    found = [each for each in names if each == name] or [
        each for each in names if each.startswith((name, f"rec_{name}"))
    ]
    if len(found) == 1:
        return folder / found[0]
    if found:
        shown = ", ".join(found[:_MOST_SHOWN]) + (" …" if len(found) > _MOST_SHOWN else "")
        raise NotFound(f"{len(found)} recordings begin with {name}.", f"Say more of one: {shown}")
    if Path(name).exists():
        return _only_recording(Path(name))
    raise NotFound(f"There is no recording {name}.", _what_there_is(folder))


def _holds_recordings(path: Path) -> bool:
    """Whether it is the folder of a recording, or of some."""
    try:
        return path.is_dir() and bool(segments_of(path) or recordings_in(path))
    except OSError:
        return False


def _only_recording(path: Path) -> Path:
    """The one recording in a folder of recordings, of which single files count where there is
    nothing else; whatever else has that path, as it is."""
    try:
        inner = []
        if path.is_dir() and not segments_of(path):
            inner = recording_folders(path) or recording_files(path)
    except OSError:
        return path  # who opens it tells why
    if len(inner) > 1:
        shown = ", ".join(map(str, inner[-_MOST_SHOWN:]))
        more = "… " if len(inner) > _MOST_SHOWN else ""
        order = ", the newest last" if inner[0].is_dir() else ""  # of files no name tells when
        raise NotFound(
            f"{path} holds {len(inner)} recordings.", f"Name one of them{order}: {more}{shown}"
        )
    return inner[0] if inner else path


def _newest(folder: Path, unreadable: list[Unreadable] | None) -> Path:
    not_read: list[Unreadable] = []
    recordings = list_recordings(folder, not_read)
    if not recordings:
        raise NotFound(f"There are no recordings in {folder}.", RECORDS)
    newest = recordings[0]
    if unreadable is not None:
        unreadable += [each for each in not_read if each.at >= _unix_time(newest.made_at)]
    return newest.path


def _what_there_is(folder: Path) -> str:
    if recordings_in(folder):
        return "`megabot recordings list` shows those there are; `last` is the newest."
    return f"{folder} holds none yet: {RECORDS}"
