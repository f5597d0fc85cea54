"""A recording that breaks off anywhere replays: what is whole of it is sent and compared."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from megabot_cli.protocol.envelope import peek
from megabot_cli.recording.format_v1 import Header, encode_header, encode_record
from megabot_cli.recording.record import Record
from megabot_cli.replay.options import Pace, ReplayOptions
from megabot_cli.replay.player import play
from megabot_cli.replay.report import ReplayReport
from megabot_cli.storage.recording_reader import open_recording
from tests.recording.arbitrary import thorough
from tests.replay.conftest import Upstream, serving
from tests.replay.texts import answer, chunk, message, say


def assistant(text: str | bytes) -> list[str]:
    """Says the same to the same: calls a tool, streams, tells how far it is, answers."""
    head = peek(text)
    assert head is not None
    payload = json.loads(text)["payload"]
    more: Any = {"reply_to": head.id}
    if head.type == "tool_result":
        return [
            *(message("status_update", {"status": f"{n} of 2"}, **more) for n in (1, 2)),
            chunk("it is ", 0, **more),
            chunk(payload["result"], 1, last=True, **more),
            answer(f"it is {payload['result']}", **more),
        ]
    if payload["content"] == "what time is it":
        call = {"tool_name": "clock", "execution_id": f"run {head.id}", "parameters": {"in": "UTC"}}
        return [message("tool_call", call, **more)]
    words = ["you ", "said ", payload["content"]]
    chunks = [chunk(word, n, last=n == 2, **more) for n, word in enumerate(words)]
    return [*chunks, answer("".join(words), **more)]


def a_talk() -> list[Record]:
    """Two clients on links of their own, one of which carries a tool call out."""
    records: list[Record] = []

    def put(direction: str, client: str, text: str) -> None:
        head = peek(text)
        assert head is not None
        records.append(
            Record(
                n=len(records) + 1, t=len(records) * 500, kind="message", direction=direction,
                client=client if direction == "to_upstream" else None, link=f"link of {client}",
                session=f"s of {client}", id=head.id, type=head.type, reply_to=head.reply_to,
                data=text,
            )
        )  # fmt: skip

    done = {"execution_id": "run m2", "status": "success", "result": "noon"}
    said = [
        ("c1", say("good morning ☀", "m1")), ("c2", say("and to me", "m3")),
        ("c1", say("what time is it", "m2")),
        ("c1", message("tool_result", done, message_id="m4")), ("c2", say("goodbye", "m5")),
    ]  # fmt: skip
    for client, text in said:
        put("to_upstream", client, text)
        for reply in assistant(text):
            put("to_client", client, reply)
    records.insert(3, Record(n=0, t=1000, kind="mark", note="here"))
    for n, record in enumerate(records, 1):
        record.n, record.t = n, n * 500
    return records


def sealed(records: list[Record], **header_fields: Any) -> bytes:
    made = Header(recording="rec_1", started_at="2026-11-23T04:12:09Z", **header_fields)
    header, last = encode_header(made), records[-1].n
    end = {"n": last + 1, "t": records[-1].t, "kind": "end", "records": last}
    return b"".join([header, *map(encode_record, records), json.dumps(end).encode() + b"\n"])


RECORDS = a_talk()


def in_pieces(pack: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Packed so that what is cut can be unpacked up to somewhere near the cut."""
    return lambda content: b"".join(
        pack(content[at : at + 500]) for at in range(0, len(content), 500)
    )


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "jsonl": lambda content: content,
    "jsonl.gz": in_pieces(gzip.compress),
    "jsonl.zst": in_pieces(zstandard.compress),
}
WHOLE = {suffix: pack(sealed(RECORDS)) for suffix, pack in PACKINGS.items()}
# Of fewer bytes nobody can tell that something is packed.
FIRST = {"jsonl": 0, "jsonl.gz": 2, "jsonl.zst": 4}
PLACES = {suffix: st.integers(FIRST[suffix], len(content)) for suffix, content in WHOLE.items()}


class Stage:
    """An upstream that lasts for all examples, and a loop to replay on."""

    def __init__(self, runner: asyncio.Runner, folder: Path) -> None:
        self._runner = runner
        self._folder = folder
        self.upstream = Upstream()
        self.upstream.answer = assistant

    def replay(self, suffix: str, content: bytes, pace: Pace) -> tuple[int, ReplayReport]:
        """How many messages can be read in `content`, and what its replay came to."""
        path = self._folder / f"cut.{suffix}"
        path.write_bytes(content)
        with open_recording(path) as reader:
            said = sum(record.direction == "to_upstream" for record in reader)
        self.upstream.heard.clear()
        return said, self._runner.run(self._replay(path, pace))

    async def _replay(self, path: Path, pace: Pace) -> ReplayReport:
        # More than the 10 s for an answer that does not come would be a wait for ever.
        options = ReplayOptions(pace=pace, expect="exact", allow_tools=True, max_gap_s=0.01)
        async with serving(self.upstream) as endpoint, asyncio.timeout(5):
            with open_recording(path) as reader:
                return await play(reader, options, endpoint.new_client)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with asyncio.Runner() as runner:
        yield Stage(runner, tmp_path_factory.mktemp("cut"))


@pytest.mark.parametrize("suffix", PACKINGS)
@settings(thorough, max_examples=30)
@given(data=st.data())
def test_a_recording_cut_at_any_byte_replays_as_far_as_it_goes(
    stage: Stage, suffix: str, data: st.DataObject
) -> None:
    cut = data.draw(PLACES[suffix])
    pace: Any = data.draw(st.sampled_from(["fast", "original", "reply"]))
    said, report = stage.replay(suffix, WHOLE[suffix][:cut], pace)
    assert report.passed, report.lines()
    assert (report.sent, len(stage.upstream.heard)) == (said, said)
    assert report.same + report.uncompared == said
    if suffix == "jsonl":
        assert said == sum(map(is_said, WHOLE[suffix][:cut].split(b"\n")))


def is_said(line: bytes) -> bool:
    """Whether it is a message of a client, lacking nothing but its newline."""
    return b'"to_upstream"' in line and line.endswith(b"}") and bool(json.loads(line))


@pytest.mark.parametrize("pace", ["fast", "reply"])
def test_what_a_recording_lost_is_not_held_against_the_upstream(stage: Stage, pace: Pace) -> None:
    records = a_talk()
    (lost,) = (each for each in records if each.type == "tool_call")
    records[lost.n - 1] = Record(n=lost.n, t=lost.t, kind="gap", lost=1, lost_bytes=lost.size)
    said, report = stage.replay("jsonl", sealed(records), pace)
    assert (report.passed, report.same, report.uncompared) == (True, said - 1, 1), report.lines()
    assert "1 record could not be written down" in report.warnings[0]
    assert any(line.endswith("0 extra, 1 not compared") for line in report.lines())


def test_a_part_that_was_cut_out_is_compared_as_far_as_it_goes(stage: Stage) -> None:
    (middle,) = (each.n for each in RECORDS if each.type == "tool_call")
    for last in range(middle - 3, middle + 3):
        cut_out = sealed(RECORDS[:last], labels={"holes": "cut"})
        said, report = stage.replay("jsonl", cut_out, "fast")
        assert report.passed, report.lines()
        assert report.same + report.uncompared == said
