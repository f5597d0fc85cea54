from __future__ import annotations

import json
from pathlib import Path

from megabot_cli.recording.bounds import Place
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.replay.options import ReplayOptions
from megabot_cli.replay.plan import ReplayPlan, make_plan
from megabot_cli.storage.recording_reader import open_recording
from tests.replay.conftest import write_recording
from tests.replay.records import came, sent
from tests.replay.texts import answer, message, say


def planned(path: Path, options: ReplayOptions) -> ReplayPlan:
    with open_recording(path) as reader:
        return make_plan(reader, options)


def test_a_plan_says_what_would_be_sent_and_what_not(tmp_path: Path) -> None:
    call = {"tool_name": "t", "parameters": {}, "execution_id": "e1"}
    texts = [say("hello", "m1"), say("token", "m2")]
    records = [
        sent(1, texts[0], t=1_000_000),
        came(2, answer("hi", reply_to="m1")),
        sent(3, texts[1], t=11_000_000, client="c2", redacted=["$.payload.content"]),
        sent(4, message("tool_call", call), t=12_000_000),
        sent(5, "plain", t=21_000_000),
        Record(n=6, t=22_000_000, kind="mark"),
    ]
    path = write_recording(tmp_path / "x.jsonl", records)
    plan = planned(path, ReplayOptions(speed=2, max_gap_s=5))
    assert (plan.messages, plan.clients, plan.lanes, plan.answers) == (3, 2, 2, 1)
    assert plan.by_type == {"chat_send": 2, "(no envelope)": 1}
    assert plan.bytes == len("".join(texts)) + len("plain")
    assert plan.duration_s == 5.0
    assert list(plan.held_back.values()) == [1]
    assert plan.redacted == 1
    assert plan.upstream == "ws://u/ws"
    assert json.loads(json.dumps(plan.as_dict()))["messages"] == 3
    said = "\n".join(plan.lines())
    assert "--allow-tools" in said
    assert "2 chat_send" in said
    assert "5.0 s" in said


def test_the_pace_of_the_upstream_has_no_duration(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "x.jsonl", [sent(1, "x")])
    assert planned(path, ReplayOptions(pace="fast")).duration_s is None


def test_a_plan_says_what_goes_before_and_how_often(tmp_path: Path) -> None:
    records = [sent(n, say("x", f"m{n}"), t=n * 1_000_000) for n in range(1, 6)]
    path = write_recording(tmp_path / "x.jsonl", records)
    options = ReplayOptions(selection=Selection(begin=Place("number", 4)), with_context=True)
    with open_recording(path) as reader:
        plan = make_plan(reader, options, rounds=3)
    assert (plan.messages, plan.context, plan.rounds, plan.duration_s) == (2, 3, 3, 1.0)
    said = "\n".join(plan.lines())
    assert "after        3 messages of context" in said
    assert "rounds       3, 15 messages in all" in said
    assert "takes        3.0 s" in said


def test_messages_whose_words_were_left_out_are_told(tmp_path: Path) -> None:
    bare = sent(2, say("x", "m2"))
    bare.data = None
    path = write_recording(tmp_path / "x.jsonl", [sent(1, say("x", "m1")), bare])
    plan = planned(path, ReplayOptions())
    assert plan.messages == 1
    assert any("1 message cannot be sent" in warning for warning in plan.warnings)


def test_an_empty_recording_has_an_empty_plan(tmp_path: Path) -> None:
    plan = planned(write_recording(tmp_path / "x.jsonl", []), ReplayOptions())
    assert (plan.messages, plan.clients, plan.duration_s) == (0, 0, 0.0)
