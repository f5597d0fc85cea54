"""One recorded id, said by two clients: two messages, and each client means its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from megabot_cli.replay.options import Pace, ReplayOptions
from tests.replay.conftest import Endpoint, Upstream, write_recording
from tests.replay.records import came, replay, sent
from tests.replay.texts import answer, message, say


@pytest.mark.parametrize("pace", ["fast", "original", "reply"])
async def test_an_id_that_two_clients_used_becomes_two_ids(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path, pace: Pace
) -> None:
    heard, endpoint = upstream

    def reply(text: str | bytes) -> list[str]:
        said: dict[str, Any] = json.loads(text)
        return [answer(said["payload"]["content"], reply_to=said["id"])]

    heard.answer = reply
    again = message("chat_send", {"content": "c"}, message_id="2", reply_to="1")
    records = [
        sent(1, say("a", "1"), client="c1", link="link_1"),
        came(2, answer("a", reply_to="1"), link="link_1"),
        sent(3, say("b", "1"), client="c2", link="link_1"),
        came(4, answer("b", reply_to="1"), link="link_1"),
        sent(5, again, client="c1", link="link_1"),
        came(6, answer("c", reply_to="2"), link="link_1"),
    ]
    path = write_recording(tmp_path / "x.jsonl", records)
    report = await replay(path, endpoint.new_client, ReplayOptions(pace=pace, expect="exact"))
    assert (report.same, report.passed) == (3, True), report.lines()
    by_words = {
        said["payload"]["content"]: said for said in (json.loads(text) for text in heard.heard)
    }
    assert len({said["id"] for said in by_words.values()}) == 3
    assert by_words["c"]["metadata"]["reply_to"] == by_words["a"]["id"]
