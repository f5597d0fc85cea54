"""The lines that a writer makes of a batch, without a recorder before it."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.config.schema import RecordingSettings
from megabot_cli.recording.format_v1 import Header, encode_record
from megabot_cli.recording.record import MessageLine, Record
from megabot_cli.recording.redaction import Redactor
from megabot_cli.storage.recording_writer import RecordingWriter
from megabot_cli.storage.verification import verify
from tests.storage.conftest import read


def test_what_waited_while_a_segment_was_sealed_comes_after_its_end(tmp_path: Path) -> None:
    def message(at_ms: int) -> tuple[Any, ...]:
        return (at_ms * 1_000_000, "message", "to_client", None, None, None, None, b"x" * 5000)

    now = [0]
    header = Header(recording="rec_1", started_at="2026-11-23T04:12:09Z")
    redactor = Redactor(b"x" * 32)
    settings = RecordingSettings(segment_bytes=4096)
    writer = RecordingWriter(tmp_path, header, settings, redactor, lambda: now[0])
    writer.open_segment()
    waiting = deque([message(1), message(2)])
    now[0] = 90_000_000  # a busy machine: it is long after they came
    writer.write_batch(waiting, 1)
    writer.keep_house()
    writer.write_batch(waiting, 1)
    writer.seal()
    writer.finish()
    assert writer.segments == 2
    found = verify(tmp_path)
    assert found.clean, found.problems
    assert [record.t for record in read(tmp_path)] == [1000, 2000]


NAMES = st.none() | st.text(max_size=8) | st.sampled_from(["client_1", "Bearer abcdefgh12345678"])


@given(data=st.binary(max_size=60) | st.text(max_size=60).map(str.encode), names=NAMES)
def test_the_quick_way_to_a_line_writes_what_the_careful_one_does(
    data: bytes, names: str | None
) -> None:
    redactor = Redactor(b"k" * 32)
    header = Header(recording="rec_1")
    writer = RecordingWriter(Path(), header, RecordingSettings(), redactor, lambda: 0)
    outer = (5000, "message", "to_client", names, "link_1", names, None)
    quick = writer._plain(1, 5, outer, data)
    if isinstance(quick, MessageLine):
        careful = writer._record(1, 5, (*outer, data), None)
        assert encode_record(quick) == encode_record(careful)


def test_a_record_that_no_line_can_say_costs_the_others_nothing(tmp_path: Path) -> None:
    def message(client: str) -> tuple[Any, ...]:
        return (1000, "message", "to_client", client, "link_1", "sess_1", None, b"{}")

    header = Header(recording="rec_1", started_at="2026-11-23T04:12:09Z")
    writer = RecordingWriter(tmp_path, header, RecordingSettings(), Redactor(b"x" * 32), lambda: 0)
    writer.open_segment()
    waiting = deque([message("client_1"), message("half \ud800"), message("client_2")])
    assert writer.write_batch(waiting, 3) == (3, 6)
    writer.seal()
    writer.finish()
    found = verify(tmp_path)
    assert found.clean, found.problems
    kinds = [(record.n, record.kind, record.client) for record in read(tmp_path)]
    assert kinds == [(1, "message", "client_1"), (2, "fault", None), (3, "message", "client_2")]


def test_a_message_line_has_the_fields_of_a_record_in_their_order() -> None:
    ours, theirs = MessageLine.__struct_fields__, Record.__struct_fields__
    assert ours == theirs[: len(ours)]


def test_the_end_counts_each_kind(tmp_path: Path) -> None:
    header = Header(recording="rec_1", started_at="2026-11-23T04:12:09Z")
    writer = RecordingWriter(tmp_path, header, RecordingSettings(), Redactor(b"x" * 32), lambda: 0)
    writer.open_segment()
    outer = ("to_client", None, "link_1", "sess_1", None)
    together: list[bytes] = [b'{"type":"a"}', b"token=abcdefgh12345678", b"\xff"]
    waiting: deque[Any] = deque(
        [
            (1000, "message", *outer, together),
            (1000, "inject", *outer, b"{}"),
            (1000, "message", *outer, []),
        ]
    )
    assert writer.write_batch(waiting, 9) == (4, 37)
    assert not waiting
    writer.seal()
    writer.finish()
    end = json.loads((tmp_path / "000001.jsonl").read_text().splitlines()[-1])
    assert end["counts"] == {"message": 3, "inject": 1}
    assert verify(tmp_path).clean


def test_a_fault_has_the_time_it_came_at_and_the_gap_that_of_the_end(tmp_path: Path) -> None:
    now = [0]
    header = Header(recording="rec_1", started_at="2026-11-23T04:12:09Z")
    redactor = Redactor(b"x" * 32)
    writer = RecordingWriter(tmp_path, header, RecordingSettings(), redactor, lambda: now[0])
    writer.open_segment()
    now[0] = 9_000_000
    writer.seal_after_fault("no room", 2_000_000, 5)
    assert [(each.kind, each.t) for each in read(tmp_path)] == [("fault", 2000), ("gap", 9000)]
