"""Several recordings made one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megabot_cli.errors import BadData
from megabot_cli.recording.bounds import Place
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.storage.converting import write_part
from megabot_cli.storage.foreign import open_any
from megabot_cli.storage.losses import with_losses
from megabot_cli.storage.recording_reader import open_recording
from tests.recording.arbitrary import thorough
from tests.storage.conftest import marks, read, segment_bytes
from tests.storage.made import (
    SEALED,
    cut,
    header_of,
    merged,
    recorded,
    sealed_bytes,
)


def test_records_are_merged_by_wall_time(tmp_path: Path) -> None:
    first = recorded(tmp_path / "a", marks(3))
    text = segment_bytes(marks(3)).replace(b"04:12:09Z", b"04:12:09.000015Z")
    (tmp_path / "b").write_bytes(sealed_bytes(text.replace(b"rec_1", b"rec_2")))
    found = merged(tmp_path / "made", tmp_path / "b", first)
    assert [(record.n, record.t, record.note) for record in found] == [
        (1, 10, "no 1"), (2, 20, "no 2"), (3, 25, "no 1"),
        (4, 30, "no 3"), (5, 35, "no 2"), (6, 45, "no 3"),
    ]  # fmt: skip


def said_by(client: str, n: int = 1) -> Record:
    return Record(n=n, t=n, kind="message", client=client, link="link_1", data="{}")


def test_clients_and_links_of_different_recordings_stay_apart(tmp_path: Path) -> None:
    sources = []
    for name in ("rec_a", "rec_b", "rec_c"):
        path = recorded(tmp_path / name, [said_by("client_1")])
        path.write_bytes(path.read_bytes().replace(b"rec_1", name.encode()))
        sources.append(path)
    found = merged(tmp_path / "made", *sources)
    assert [(record.client, record.link) for record in found] == [
        ("client_1", "link_1"), ("client_1@2", "link_1@2"), ("client_1@3", "link_1@3"),
    ]  # fmt: skip


def test_what_was_cut_in_two_is_one_again(tmp_path: Path) -> None:
    cut(SEALED, tmp_path / "a", direction="to_client")
    cut(SEALED, tmp_path / "b", direction="to_upstream")
    found = merged(tmp_path / "made", tmp_path / "b", tmp_path / "a")
    with open_recording(SEALED) as reader:
        whole = [record for record in reader if record.direction is not None]
    assert [(each.t, each.client, each.link, each.data, each.data_b64) for each in found] == [
        (each.t, each.client, each.link, each.data, each.data_b64) for each in whole
    ]


def test_a_hole_in_a_source_becomes_a_gap(tmp_path: Path) -> None:
    source = recorded(tmp_path / "a", [*marks(2), *marks(2, first=7)])
    found = merged(tmp_path / "made", source)
    assert [(record.kind, record.lost) for record in found] == [
        ("mark", None), ("mark", None), ("gap", 4), ("mark", None), ("mark", None),
    ]  # fmt: skip


def test_the_end_of_a_segment_is_no_hole(tmp_path: Path) -> None:
    found = merged(tmp_path / "made", SEALED)
    assert len(found) == 35
    assert not any(record.lost for record in found)


_places = st.none() | st.one_of(
    st.builds(Place, st.just("offset"), st.integers(0, 60)),
    st.builds(Place, st.just("mark"), st.just(0), st.sampled_from(["m3", "m7", "none"])),
    st.builds(Place, st.just("wall"), st.integers(0, 60).map(lambda t: 1_795_407_129_000_000 + t)),
)


@settings(thorough, max_examples=150)
@given(
    sources=st.lists(
        st.lists(st.tuples(st.integers(0, 50), st.sampled_from("abm")), max_size=8),
        min_size=1,
        max_size=3,
    ),
    wanted=st.fixed_dictionaries(
        {
            "types": st.sampled_from([(), ("a",)]),
            "begin": _places,
            "until": _places,
            "limit": st.none() | st.integers(1, 4),
            "around": st.sampled_from([0, 0, 1, 2]),
        }
    ),
)
def test_what_is_chosen_in_merging_is_what_is_cut_of_all_that_was_merged(
    tmp_path_factory: pytest.TempPathFactory,
    sources: list[list[tuple[int, str]]],
    wanted: dict[str, Any],
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    paths = []
    for number, facts in enumerate(sources):
        found = []
        for n, (t, what) in enumerate(sorted(facts), 1):
            record = Record(n=n, t=t, kind="message", type=what, data=f"{number}:{n}")
            if what == "m":
                record = Record(n=n, t=t, kind="mark", note=f"m{n}")
            found.append(record)
        paths.append(recorded(folder / str(number), found))
    chosen = merged(folder / "chosen", *paths, **wanted)
    assert [each.n for each in chosen] == list(range(1, len(chosen) + 1)), "there are no holes"
    merged(folder / "all", *paths)
    cut(folder / "all", folder / "part", **wanted)

    def facts_of(records: list[Record]) -> list[tuple[object, ...]]:
        return [(each.t, each.kind, each.data, each.note) for each in records]

    assert facts_of(chosen) == facts_of(read(folder / "part"))


def test_what_may_have_been_wanted_is_told_lost_in_merging_too(tmp_path: Path) -> None:
    records = [*marks(2), *marks(2, first=7), *marks(2, first=20)]
    records[0].type = records[4].type = "a"
    source = recorded(tmp_path / "a", records)

    def told(**wanted: Any) -> list[tuple[str, int | None]]:
        found = merged(tmp_path / "made", source, **wanted)
        return [(record.kind, record.lost) for record in found]

    assert told(types=("a",)) == [("mark", None), ("gap", 4), ("gap", 11), ("mark", None)]
    assert told(types=("a",), limit=1) == [("mark", None)]
    assert told(begin=Place("offset", 80)) == [
        *(("mark", None), ("gap", 11), ("mark", None), ("mark", None)),
    ]
    assert told(types=("a",), around=1) == [
        *(("mark", None), ("mark", None), ("gap", 4)),
        *(("mark", None), ("gap", 11), ("mark", None), ("mark", None)),
    ]
    source.write_bytes(segment_bytes(records)[:-5])
    assert told(types=("a",)) == [
        *(("mark", None), ("gap", 4), ("gap", 11), ("mark", None), ("gap", 1)),
    ]


def test_a_merged_part_tells_by_which_words_it_was_chosen(tmp_path: Path) -> None:
    wanted = {"types": ("chat_*",), "direction": "to_client"}
    part = Selection(limit=20)
    with open_any(SEALED) as reader, (tmp_path / "a").open("wb") as file:
        write_part(reader, with_losses(reader, part), file.write, "cut", part)
    merged(tmp_path / "made", tmp_path / "a", SEALED, **wanted)
    labels = header_of(tmp_path / "made")["labels"]
    assert labels["chosen"] == "… | --type 'chat_*' --direction to_client"
    assert "holes" not in labels, "the numbers are new ones"
    merged(tmp_path / "made", SEALED, SEALED, **wanted)
    assert header_of(tmp_path / "made")["labels"]["chosen"].startswith("--type")
    merged(tmp_path / "made", SEALED, SEALED)
    assert "chosen" not in header_of(tmp_path / "made")["labels"]


def test_merging_what_does_not_say_when_it_began_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(segment_bytes(marks(1)).replace(b"2026-11-23T04:12:09Z", b""))
    with pytest.raises(BadData, match="a does not say when it began"):
        merged(tmp_path / "made", source)


@settings(thorough, max_examples=60)
@given(st.lists(st.lists(st.integers(0, 50), max_size=6), min_size=1, max_size=4))
def test_any_merge_keeps_each_source_in_its_order(
    tmp_path_factory: pytest.TempPathFactory, times: list[list[int]]
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    sources = []
    for number, offsets in enumerate(times):
        some = [
            Record(n=n, t=t, kind="mark", note=f"{number}:{n}")
            for n, t in enumerate(sorted(offsets), 1)
        ]
        sources.append(recorded(folder / str(number), some))
    found = merged(folder / "made", *sources)
    assert len(found) == sum(map(len, times))
    assert [record.t for record in found] == sorted(record.t for record in found)
    for number, offsets in enumerate(times):
        own = [each.note for each in found if (each.note or "").startswith(f"{number}:")]
        assert own == [f"{number}:{n}" for n in range(1, len(offsets) + 1)]
