"""Whatever is asked of whatever recording: with an index it is answered as without."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from megabot_cli.recording.bounds import Place
from megabot_cli.recording.format_v1 import encode_record
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import MESSAGES_AND_LOSSES, Selection
from megabot_cli.storage.choosing import choose
from megabot_cli.storage.compressing import compress
from megabot_cli.storage.foreign import open_any
from megabot_cli.storage.losses import with_losses
from tests.storage.indexed import index_in_blocks, sealed_bytes

_TYPES = ("chat_send", "chat_stream", "error", "busy_error", "connection_established", None)
_SESSIONS = ("session_0001", "session_0002", "other_0001", None)
_CLIENTS = ("client_1", "client_2", None)

_Run = tuple[int, str | None, str | None, str | None, str, int, int, int]

# A run of records alike, as traffic is: (how many, type, session, client, kind), holes before it
_runs = st.tuples(
    st.integers(1, 12),
    st.sampled_from(_TYPES),
    st.sampled_from(_SESSIONS),
    st.sampled_from(_CLIENTS),
    st.sampled_from(["message"] * 4 + ["inject", "mark", "gap", "open"]),
    st.sampled_from([0] * 6 + [1, 7]),  # numbers that are missing
    st.sampled_from([0] * 8 + [1]),  # bad lines behind it
    st.sampled_from([0] * 12 + [-20]),  # how far numbers and times go back
)
_segments = st.lists(_runs, max_size=14)
_places = st.one_of(
    st.builds(Place, st.just("offset"), st.integers(0, 1500)),
    st.builds(Place, st.just("number"), st.integers(0, 150)),
    st.builds(Place, st.just("mark"), st.just(0), st.sampled_from(["stop 3", "stop 20", "none"])),
)
_selections = st.builds(
    Selection,
    types=st.lists(
        st.sampled_from(["error", "*_error", "chat_*", "[!c]*", "*", "nothing"]), max_size=2
    ).map(tuple),
    kinds=st.sampled_from([(), MESSAGES_AND_LOSSES, ("mark",), ("g*", "open")]),
    direction=st.sampled_from([None, None, "to_client", "to_upstream"]),
    sessions=st.lists(st.sampled_from(["session_0001", "n_0002", "*_0001"]), max_size=1).map(tuple),
    clients=st.lists(st.sampled_from(["client_2", "client_*"]), max_size=1).map(tuple),
    begin=st.none() | _places,
    until=st.none() | _places,
    limit=st.none() | st.integers(1, 5),
    around=st.sampled_from([0, 0, 1, 3, 20]),
)


def write(folder: Path, segments: list[list[_Run]], *, packed: str, block_bytes: int) -> None:
    n = t = 0
    for number, runs in enumerate(segments, 1):
        lines = []
        for count, kind_of, session, client, kind, holes, bad, back in runs:
            n, t = max(0, n + holes + back), max(0, t + 10 * back)
            for _ in range(count):
                n, t = n + 1, t + (n % 3) * 7
                record = Record(n=n, t=t, kind=kind, direction="to_client", data="x" * (n % 40))
                record.type, record.session, record.client = kind_of, session, client
                record.note = f"stop {n}" if kind == "mark" else None
                lines.append(encode_record(record))
            lines += [b'{"n":"no record"}\n'] * bad
        n += 1
        content = sealed_bytes(lines, segment=number, n=n)
        path = folder / f"{number:06}.jsonl"
        path.write_bytes(content)
        index_in_blocks(path, content, block_bytes)
        if packed == "by us":
            compress(path)
        elif packed == "anywhere":
            _pack_anywhere(path, content)


def _pack_anywhere(path: Path, content: bytes) -> None:
    """As others do, whose frames end within lines."""
    small = path.with_suffix(".jsonl.zst")
    pieces = [content[at : at + 331] for at in range(0, len(content), 331)]
    small.write_bytes(b"".join(map(zstandard.compress, pieces)))
    facts = path.stat()
    os.utime(small, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    path.unlink()


def found(
    folder: Path, wanted: Selection, *, losses: bool, greets_once: bool = False
) -> tuple[list[tuple[Record, bytes]], int]:
    with open_any(folder) as reader:
        if losses:
            records = list(with_losses(reader, wanted))
        else:
            records = list(choose(reader, wanted, greets_once=greets_once))
        return records, reader.bad_lines


@given(
    segments=st.lists(_segments, min_size=1, max_size=3),
    wanted=_selections,
    packed=st.sampled_from(["not", "by us", "anywhere"]),
    losses=st.booleans(),
    greets_once=st.booleans(),
    block_bytes=st.sampled_from([100, 400, 2000]),
)
@settings(deadline=None, max_examples=200)
def test_any_selection_finds_the_same_with_and_without_an_index(
    tmp_path_factory: pytest.TempPathFactory,
    segments: list[list[_Run]],
    wanted: Selection,
    packed: str,
    losses: bool,
    greets_once: bool,
    block_bytes: int,
) -> None:
    if wanted.begin is not None:  # what is out of order is sought as if it were in order
        segments = [[(*run[:-1], 0) for run in runs] for runs in segments]
    folder = tmp_path_factory.mktemp("indexed")
    write(folder, segments, packed=packed, block_bytes=block_bytes)
    how = {"losses": losses, "greets_once": greets_once}
    records, bad_lines = found(folder, wanted, **how)
    for index in folder.glob("*.index"):
        index.unlink()
    assert records == (expected := found(folder, wanted, **how))[0]
    # What is before the place to begin at, or behind the last that is wanted, nobody looks at.
    if wanted.begin is None and wanted.until is None and wanted.limit is None:
        assert bad_lines == expected[1]


@given(
    flips=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=6),
    packed=st.sampled_from(["not", "by us", "anywhere"]),
    losses=st.booleans(),
)
@settings(deadline=None, max_examples=150)
def test_any_damage_to_an_index_raises_nothing_and_makes_nothing_up(
    tmp_path_factory: pytest.TempPathFactory,
    flips: list[tuple[int, int]],
    packed: str,
    losses: bool,
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    runs: list[_Run] = [
        (9, kind, session, "client_1", "message", 0, 0, 0)
        for kind in _TYPES
        for session in _SESSIONS
    ]
    write(folder, [runs], packed=packed, block_bytes=400)
    path = folder / "000001.index"
    content = bytearray(path.read_bytes())
    for place, value in flips:
        content[place % len(content)] = value
    wanted = Selection(types=("error",), sessions=("session_0001",))
    path.write_bytes(content)
    records, _ = found(folder, wanted, losses=losses)
    path.unlink()
    right = found(folder, wanted, losses=losses)[0]
    assert [each for each in records if each not in right and each[0].kind != "gap"] == []
