"""What a replay keeps on disk: its verdicts are those of one that keeps all in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from megabot_cli.recording.record import Record
from megabot_cli.replay.conversation import read_conversation
from megabot_cli.replay.options import Pace, ReplayOptions
from megabot_cli.replay.outcome import Played
from megabot_cli.replay.player import Replay
from megabot_cli.storage.kept_texts import KeptTexts
from megabot_cli.storage.recording_reader import open_recording
from tests.replay.conftest import Endpoint, Upstream, serving, write_recording
from tests.replay.records import came, sent
from tests.replay.test_tool_results import a_talk_with_tools, uses_tools
from tests.replay.texts import answer, chunk, message, refusal, say
from tests.support.upstream import ScriptedUpstream

EXACT = ReplayOptions(pace="fast", expect="exact", allow_tools=True, settle_s=2)


def in_memory() -> KeptTexts:
    return KeptTexts()


def on_disk() -> KeptTexts:
    return KeptTexts(0, at_once_bytes=1)


def without_disk() -> KeptTexts:
    texts = KeptTexts(0, at_once_bytes=1)
    texts.put("x")
    assert texts.put("y") is None
    return texts


def batch(message_id: str, *inner: str) -> str:
    return f'{{"id":"{message_id}","type":"batch","payload":{{"messages":[{",".join(inner)}]}}}}'


def task(task_id: str, message_id: str, reply_to: str) -> str:
    return message("x_task", {"task_id": task_id}, message_id=message_id, reply_to=reply_to)


def a_talk_of_all_kinds(tmp_path: Path) -> Path:
    records = [
        sent(1, say("plain", "m1")),
        came(2, answer("the same", reply_to="m1")),
        sent(3, say("other words", "m3")),
        came(4, answer("as they were", reply_to="m3")),
        sent(5, say("streamed", "m5")),
        came(6, chunk("hel", 1, reply_to="m5")),
        came(7, chunk("lo", 2, last=True, reply_to="m5")),
        came(8, answer("hello", reply_to="m5")),
        sent(9, batch("b1", say("one", "m9"), say("two", "m10"))),
        came(10, batch("r1", answer("one", reply_to="m9"), refusal("no", reply_to="m10"))),
        sent(11, b"\x00\x01\xff"),
        sent(12, say("make a task", "m12")),
        came(13, task("t1", "told_then", "m12")),
        sent(14, message("x_ask", {"task_id": "t1"}, message_id="m14", reply_to="told_then")),
        came(15, answer("Ünïcödé", reply_to="m14")),
        sent(16, say("will be refused", "m16")),
        came(17, answer("not then", reply_to="m16")),
        sent(18, say("unanswered", "m18")),
    ]
    return write_recording(tmp_path / "kinds.jsonl", records)


def speaks_today(text: str | bytes) -> list[str]:
    """The recorded answers, of which some are others today."""
    if isinstance(text, bytes):
        return []
    asked = json.loads(text)
    if asked["type"] == "batch":
        one, two = (each["id"] for each in asked["payload"]["messages"])
        return [batch("r2", answer("one", reply_to=one), refusal("no", reply_to=two))]
    if asked["type"] == "x_ask":
        named = f"{asked['payload']['task_id']} {asked['metadata']['reply_to']}"
        return [answer(f"Ünïcödé {named}", reply_to=asked["id"])]
    words = asked["payload"]["content"]
    answers = {
        "plain": [answer("the same", reply_to=asked["id"])],
        "other words": [answer("today", reply_to=asked["id"])],
        "streamed": [
            chunk("hello", 1, last=True, reply_to=asked["id"]),
            answer("hello", reply_to=asked["id"]),
        ],
        "make a task": [task("t_now", "told_now", asked["id"])],
        "will be refused": [refusal("busy", reply_to=asked["id"])],
    }
    return answers.get(words, [])


def verdicts(played: Played) -> object:
    """All that it found, without its times."""
    report = played.report.as_dict()
    times = ("duration_s", "lateness", "recorded_timing", "replayed_timing")
    cases = msgspec.to_builtins(played.cases)
    return {name: value for name, value in report.items() if name not in times}, cases


async def played(
    path: Path, endpoint: Endpoint, texts: KeptTexts, options: ReplayOptions = EXACT
) -> Played:
    with open_recording(path) as reader, closing(read_conversation(reader, options, texts)) as read:
        return await Replay(read, options, endpoint.new_client).play(2)


def words(heard: Upstream) -> list[object]:
    """What the upstream heard, without what is new each time."""
    found: list[object] = []
    for text in heard.heard:
        if isinstance(text, bytes):
            found.append(text)
            continue
        said = json.loads(text)
        if said["type"] == "batch":
            found.append([each["payload"] for each in said["payload"]["messages"]])
        else:
            found.append((said["payload"], said["type"] == "x_ask" and said["metadata"]))
    return found


@pytest.mark.parametrize("pace", ["fast", "reply"])
async def test_a_replay_out_of_a_file_finds_what_one_out_of_memory_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pace: Pace
) -> None:
    options = msgspec.structs.replace(EXACT, pace=pace)
    path = a_talk_of_all_kinds(tmp_path)
    found, told = [], []
    for keep in (in_memory, on_disk, without_disk):
        if keep is without_disk:
            monkeypatch.setattr("tempfile.tempdir", f"/nowhere/{os.getpid()}")
        heard = Upstream()
        heard.answer = speaks_today
        async with serving(heard) as endpoint:
            found.append(verdicts(await played(path, endpoint, keep(), options)))
        told.append(words(heard))
    assert found[0] == found[1] == found[2]
    assert told[0] == told[1] == told[2]
    named = ({"task_id": "t_now"}, {"reply_to": "told_now"})
    assert pace == "fast" or told[0].count(named) == 2
    report = found[0][0]  # type: ignore[index]
    assert (report["same"], report["same_shape"], report["different"]) == (2 * 4, 2 * 2, 2 * 1)
    assert report["varying"] == {}


@pytest.mark.parametrize("named", [True, False])
async def test_tool_calls_are_known_again_where_they_are_kept_in_a_file(
    tmp_path: Path, named: bool
) -> None:
    path = a_talk_with_tools(tmp_path, named=named)
    heard: list[str] = []
    async with ScriptedUpstream(uses_tools(heard, named=named)) as upstream:
        endpoint = Endpoint(upstream.url)
        found = [
            verdicts(await played(path, endpoint, texts)) for texts in (in_memory(), on_disk())
        ]
    assert found[0] == found[1]
    assert heard == ["read", "write"] * 4


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_file_is_closed_with_the_conversation(tmp_path: Path) -> None:
    with open_recording(a_talk_of_all_kinds(tmp_path)) as reader:
        conversation = read_conversation(reader, EXACT, on_disk())
        opened = descriptors()
        conversation.close()
        assert descriptors() == opened - 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_file_is_closed_where_reading_fails(tmp_path: Path) -> None:
    with open_recording(a_talk_of_all_kinds(tmp_path)) as reader:
        reader.close()
        before, texts = descriptors(), on_disk()
        texts.put("opens the file")
        with pytest.raises(ValueError, match="closed"):
            read_conversation(reader, EXACT, texts)
    assert descriptors() == before


READ = """
import sys
from megabot_cli.replay.conversation import read_conversation
from megabot_cli.replay.options import ReplayOptions
from megabot_cli.storage.kept_texts import KeptTexts
from megabot_cli.storage.recording_reader import open_recording

with open_recording(sys.argv[1]) as reader:
    conversation = read_conversation(reader, ReplayOptions(), KeptTexts(1 << 20))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(len(conversation.to_send()), peak.split()[1])
conversation.close()
"""


def in_one(message_id: str) -> list[str]:
    return [answer("y" * 1000, reply_to=message_id)]


def in_chunks(message_id: str) -> list[str]:
    pieces = [chunk("y" * 500, place, reply_to=message_id) for place in (1, 2)]
    return [*pieces, chunk("", 3, last=True, reply_to=message_id)]


def peak_kib(path: Path, pairs: int, answers: Callable[[str], list[str]]) -> int:
    """The most that a process took which has read so many questions and answers of 1 KB."""
    records: list[Record] = []
    for place in range(pairs):
        message_id = f"msg_{place:012}"
        records.append(sent(len(records) + 1, say("x" * 1000, message_id)))
        records += [came(len(records) + 1, text) for text in answers(message_id)]
    for record in records:
        record.t = record.n
    write_recording(path, records)
    done = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, check=True)
    count, peak = done.stdout.split()
    assert int(count) == pairs
    return int(peak)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("answers", [in_one, in_chunks])
def test_a_long_recording_takes_less_memory_than_its_words(
    tmp_path: Path, answers: Callable[[str], list[str]]
) -> None:
    few, many = (peak_kib(tmp_path / f"{pairs}.jsonl", pairs, answers) for pairs in (4_000, 24_000))
    assert (many - few) * 1024 / 20_000 < 1400  # bytes for each: its words alone are 2200
