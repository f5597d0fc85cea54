"""Records of a few words, recordings of them, and replays of these."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from megabot_cli.protocol.envelope import peek
from megabot_cli.recording.record import Record
from megabot_cli.replay.conversation import read_conversation
from megabot_cli.replay.lane import NewClient
from megabot_cli.replay.options import ReplayOptions
from megabot_cli.replay.outcome import Played
from megabot_cli.replay.player import Replay, play
from megabot_cli.replay.report import ReplayReport
from megabot_cli.storage.recording_reader import open_recording
from tests.replay.conftest import Endpoint, Upstream, write_recording
from tests.replay.texts import answer, say

FAST = ReplayOptions(pace="fast", settle_s=10)


def sent(n: int, text: str | bytes, *, t: int = 0, client: str = "c1", **more: Any) -> Record:
    head = peek(text) if isinstance(text, str) else None
    record = Record(
        n=n,
        t=t,
        kind="message",
        direction="to_upstream",
        client=client,
        link=more.pop("link", f"link of {client}"),
        id=head.id if head else None,
        type=head.type if head else None,
        **more,
    )
    if isinstance(text, str):
        record.data = text
    else:
        record.opcode, record.data_b64 = "binary", "AAH/"
    return record


def came(n: int, text: str, *, kind: str = "message", link: str = "link of c1") -> Record:
    head = peek(text)
    assert head is not None
    return Record(
        n=n,
        t=n,
        kind=kind,
        direction="to_client",
        link=link,
        type=head.type,
        reply_to=head.reply_to,
        data=text,
    )


def asked(n: int, at_ms: int, text: str, client: str = "c1") -> Record:
    return Record(
        n=n, t=at_ms * 1000, kind="message", direction="to_upstream", client=client,
        link=f"link of {client}", session="s1", id=f"m{n}", type="chat_send",
        data=say(text, f"m{n}"),
    )  # fmt: skip


def answered(n: int, at_ms: int, to: int, client: str = "c1") -> Record:
    text = answer("yes", reply_to=f"m{to}")
    return Record(
        n=n, t=at_ms * 1000, kind="message", direction="to_client", link=f"link of {client}",
        session="s1", type="chat_receive", reply_to=f"m{to}", data=text,
    )  # fmt: skip


def a_talk(tmp_path: Path) -> Path:
    """Three questions, each answered, the second 30 ms after the first answer."""
    records = [
        asked(1, 0, "one"), answered(2, 10, 1),
        asked(3, 40, "two"), answered(4, 50, 3),
        asked(5, 60, "three"), answered(6, 70, 5),
    ]  # fmt: skip
    return write_recording(tmp_path / "talk.jsonl", records)


async def replay(
    path: Path | None,
    new_client: NewClient,
    options: ReplayOptions = FAST,
) -> ReplayReport:
    assert path is not None
    with open_recording(path) as reader:
        return await play(reader, options, new_client)


def replay_of(path: Path, endpoint: Endpoint, **options: Any) -> Replay:
    asked_for = ReplayOptions(expect="exact", **options)
    with open_recording(path) as reader:
        return Replay(read_conversation(reader, asked_for), asked_for, endpoint.new_client)


async def finish(work: asyncio.Task[Played]) -> Played:
    async with asyncio.timeout(10):
        return await work


def answering(heard: Upstream) -> None:
    heard.answer = lambda text: [answer("yes", reply_to=id_of(text))]


def said(heard: Upstream) -> list[str]:
    return [json.loads(text)["payload"]["content"] for text in heard.heard]


def id_of(text: str | bytes) -> str | None:
    head = peek(text)
    return head.id if head else None
