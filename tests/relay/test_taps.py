"""What a tap that lags is told of what it missed."""

from __future__ import annotations

from megabot_cli.recording.format_v1 import decode_line
from megabot_cli.recording.record import Record
from megabot_cli.recording.redaction import Redactor
from megabot_cli.relay.taps import TAP_RECORDS, Tap

AT_ONCE = 200


def lines_of(tap: Tap) -> list[Record]:
    found = [decode_line(line) for line in tap.take_lines(AT_ONCE)]
    return [each for each in found if isinstance(each, Record)]


def test_a_tap_that_never_catches_up_is_told_its_gaps_where_they_are() -> None:
    dropped: list[int] = []
    tap = Tap(Redactor(bytes(16)), dropped.append)
    offered, got = 0, []

    def passes(count: int) -> None:
        nonlocal offered
        for _ in range(count):
            offered += 1
            tap.offer({"t": offered, "kind": "message", "size": 10, "data": "{}"})

    passes(TAP_RECORDS)
    for _ in range(2 * TAP_RECORDS // AT_ONCE):
        passes(2 * AT_ONCE)
        got += lines_of(tap)
    gaps = [each for each in got if each.kind == "gap"]
    assert len(gaps) > 1, "it was behind all the time"
    while more := lines_of(tap):
        got += more
    gaps = [each for each in got if each.kind == "gap"]
    lost = sum(each.lost or 0 for each in gaps)
    assert lost == sum(dropped) == offered - len(got) + len(gaps)
    assert sum(each.lost_bytes or 0 for each in gaps) == 10 * lost
    assert [each.n for each in got] == list(range(1, len(got) + 1))
    times = [each.t for each in got]
    assert times == sorted(times)
    for at, gap in enumerate(got):
        if gap.kind == "gap":
            assert gap.t - got[at - 1].t == gap.lost


def test_what_looks_for_a_condition_is_shown_no_gap() -> None:
    tap = Tap(Redactor(bytes(16)), lambda _: None)
    for number in range(TAP_RECORDS + 1):
        tap.offer({"t": number, "kind": "message"})
    assert len(tap.take(AT_ONCE)) == AT_ONCE
    tap.offer({"t": TAP_RECORDS + 1, "kind": "message"})
    assert {each.kind for each in tap.take(2 * TAP_RECORDS)} == {"message"}
