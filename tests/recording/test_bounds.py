from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from megabot_cli.errors import WrongUsage
from megabot_cli.recording.bounds import Place, parse_place
from megabot_cli.recording.record import Record

STARTED_AT = datetime(2026, 11, 23, 4, 12, 9, tzinfo=UTC)
STARTED_AT_S = STARTED_AT.timestamp()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("12.5s", Place("offset", 12_500_000)),
        ("12.5", Place("offset", 12_500_000)),
        ("0", Place("offset", 0)),
        ("250ms", Place("offset", 250_000)),
        ("1h2m3s", Place("offset", 3_723_000_000)),
        ("5m", Place("offset", 300_000_000)),
        ("n=100", Place("number", 100)),
        ("14:02", Place("day", 50_520_000_000)),
        ("14:02:10.5", Place("day", 50_530_500_000)),
        ("2026-11-23T04:12:10Z", Place("wall", round((STARTED_AT_S + 1) * 1e6))),
        ("before the crash", Place("mark", name="before the crash")),
        ("mark=12", Place("mark", name="12")),
        ("n=x", Place("mark", name="n=x")),
    ],
)
def test_a_place_is_understood_as_people_say_it(text: str, place: Place) -> None:
    assert parse_place(text, "--from") == place


def test_nothing_is_no_place() -> None:
    with pytest.raises(WrongUsage, match="--until names no place"):
        parse_place("  ", "--until")


@pytest.mark.parametrize("text", ["25:00:00", "12:99", "12:00:60"])
def test_what_no_clock_shows_is_no_time_but_may_be_a_mark(text: str) -> None:
    with pytest.raises(WrongUsage, match=f"{text} is no time of day"):
        parse_place(text, "--from")
    assert parse_place(f"mark={text}", "--from") == Place("mark", name=text)


@pytest.mark.parametrize("text", ["0001-01-01T00:00", "9999-12-31T23:59:59"])
@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Lima"])
def test_a_time_beyond_the_calendar_is_told(
    monkeypatch: pytest.MonkeyPatch, text: str, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        with pytest.raises(WrongUsage, match=f"--from: no recording is of {text}"):
            parse_place(text, "--from")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_offset_of_any_length_is_one() -> None:
    assert parse_place("9" * 400 + "h", "--from") == Place("offset", 10**18)


def test_a_wall_time_is_settled_from_the_start_of_the_recording() -> None:
    assert parse_place("2026-11-23T04:12:11Z", "--from").settled(STARTED_AT_S).value == 2_000_000
    assert parse_place("2026-11-23T04:00:00Z", "--from").settled(STARTED_AT_S).value == 0


def test_a_time_of_day_is_the_next_that_clocks_here_show_after_the_start() -> None:
    local = STARTED_AT.astimezone()
    soon = local.replace(minute=local.minute + 1)
    assert parse_place(f"{soon:%H:%M:%S}", "--from").settled(STARTED_AT_S).value == 60_000_000
    same_minute = parse_place(f"{local:%H:%M}", "--from").settled(STARTED_AT_S)
    assert same_minute.value == 0
    passed = local.replace(minute=local.minute - 5)
    tomorrow = parse_place(f"{passed:%H:%M:%S}", "--from").settled(STARTED_AT_S)
    assert tomorrow.value == (24 * 3600 - 300) * 1_000_000


@pytest.mark.parametrize(
    ("place", "reached"),
    [
        (Place("offset", 5), True),
        (Place("offset", 6), False),
        (Place("number", 3), True),
        (Place("number", 4), False),
        (Place("mark", name="here"), True),
        (Place("mark", name="there"), False),
    ],
)
def test_a_record_has_reached_what_is_not_behind_it(place: Place, reached: bool) -> None:
    record = Record(n=3, t=5, kind="mark", note="here")
    assert place.settled(STARTED_AT_S).reached_by(record) is reached
