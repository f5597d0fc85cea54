"""What a recording can answer."""

from __future__ import annotations

import pytest

from megabot_cli.errors import BadData
from megabot_cli.recording.exchanges import ExchangeReading, Exchanges, Kind
from megabot_cli.recording.likeness import Likeness
from megabot_cli.recording.record import Record
from tests.gateway.recorded import Script
from tests.replay.texts import refusal


def read(script: Script) -> tuple[Exchanges, list[tuple[Kind, bytes]]]:
    kept: list[tuple[Kind, bytes]] = []

    def keep(kind: Kind, payload: bytes) -> int:
        kept.append((kind, payload))
        return len(kept) - 1

    reading = ExchangeReading(Likeness(), keep)
    for record in script.records:
        reading.take(record)
    return reading.finish(), kept


def test_replies_belong_to_what_they_answer_and_the_rest_to_the_session() -> None:
    script = Script().greet().said("hi", "Hello", "m1")
    script.came("notification", {"title": "t", "message": "m"}).said("ho", "Hey", "m2")
    found, kept = read(script)
    (lane,) = found.lanes
    assert lane.greeting == 0
    assert [b"notification" in kept[place][1] for place in lane.unasked.places] == [True]
    told = [kept[exchange.steps.places[0]][1] for exchange in found.exchanges]
    assert [b"Hello" in told[0], b"Hey" in told[1]] == [True, True]
    assert found.exchanges[0].steps.times_us[0] - found.exchanges[0].at_us == 10_000


def test_links_that_went_on_with_a_session_are_one_lane() -> None:
    script = Script().greet().said("hi", "Hello", "m1").greet().said("hi", "again", "m2")
    for record in script.records[4:]:
        record.link = "link_2"
    found, _ = read(script)
    assert len(found.lanes) == 1
    assert list(found.alike.values()) == [[0, 1]]


def test_what_the_relay_itself_refused_is_no_answer_of_the_upstream() -> None:
    script = Script().greet().asked("chat_send", {"content": "hi"}, "m1")
    text = refusal("upstream_unavailable", reply_to="m1")
    told = {"direction": "to_client", "type": "connection_error", "reply_to": "m1", "data": text}
    script.add("inject", **told)
    found, kept = read(script)
    assert not found.alike
    assert len(kept) == 1


def test_what_the_relay_refused_one_client_is_not_what_another_asked_with_that_id() -> None:
    script = Script().greet()
    script.asked("chat_send", {"content": "of ann"}, "m1").records[-1].client = "ann"
    script.asked("chat_send", {"content": "of ben"}, "m1").records[-1].client = "ben"
    text = refusal("upstream_unavailable", reply_to="m1")
    told = {"direction": "to_client", "type": "connection_error", "reply_to": "m1", "data": text}
    script.add("inject", **told).records[-1].client = "ann"
    found, _ = read(script)
    assert [exchange.refused for exchange in found.exchanges] == [True, False]


def test_a_long_talk_keeps_no_words_in_memory() -> None:
    script = Script().greet()
    reading = ExchangeReading(Likeness(), lambda _kind, _payload: 0)
    for number in range(50):
        script.said("hi", f"answer {number} " + "x" * 100, f"m{number}")
    for record in script.records:
        reading.take(record)
    correlator = reading._correlators[0]
    words = [part.payload for place in range(49) for part in correlator.answers[place].parts]
    assert words == [None] * 49


@pytest.mark.parametrize(
    "records", [[], [Record(n=1, t=1, kind="mark")], Script().add("open").records]
)
def test_a_recording_without_an_upstream_is_refused(records: list[Record]) -> None:
    script = Script()
    script.records = records
    with pytest.raises(BadData, match="nothing that an upstream said"):
        read(script)
