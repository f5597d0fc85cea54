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


def by_words(heard: Upstream) -> dict[str, dict[str, Any]]:
    """What an upstream heard, by the words in it."""
    messages = [json.loads(text) for text in heard.heard]
    return {each["payload"]["content"]: each for each in messages}


@pytest.mark.parametrize("pace", ["fast", "original", "reply"])
async def test_an_id_that_two_clients_used_becomes_two_ids(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path, pace: Pace
) -> None:
    heard, endpoint = upstream

    def reply(text: str | bytes) -> list[str]:
        asked: dict[str, Any] = json.loads(text)
        return [answer(asked["payload"]["content"], reply_to=asked["id"])]

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
    said = by_words(heard)
    assert len({each["id"] for each in said.values()}) == 3
    assert said["c"]["metadata"]["reply_to"] == said["a"]["id"]


@pytest.mark.parametrize("pace", ["fast", "original"])
async def test_who_did_not_use_such_an_id_means_the_first_that_did(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path, pace: Pace
) -> None:
    heard, endpoint = upstream
    again = message("chat_send", {"content": "c"}, message_id="2", reply_to="1")
    records = [
        sent(1, say("a", "1"), client="c1", link="link_1"),
        sent(2, say("b", "1"), client="c2", link="link_1", t=100_000),
        sent(3, again, client="c3", link="link_1", t=200_000),
    ]
    path = write_recording(tmp_path / "x.jsonl", records)
    await replay(path, endpoint.new_client, ReplayOptions(pace=pace))
    await heard.until_heard(3)
    said = by_words(heard)
    assert said["a"]["id"] != said["b"]["id"]
    assert said["c"]["metadata"]["reply_to"] == said["a"]["id"]


@pytest.mark.parametrize("pace", ["fast", "original"])
async def test_an_id_that_a_client_used_twice_stays_one(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path, pace: Pace
) -> None:
    heard, endpoint = upstream
    again = message("chat_send", {"content": "d"}, message_id="2", reply_to="1")
    records = [
        sent(1, say("a", "1"), client="c1", link="link_1"),
        sent(2, say("b", "1"), client="c1", link="link_1"),
        sent(3, say("c", "1"), client="c2", link="link_1", t=100_000),
        sent(4, again, client="c3", link="link_1", t=200_000),
    ]
    path = write_recording(tmp_path / "x.jsonl", records)
    await replay(path, endpoint.new_client, ReplayOptions(pace=pace))
    await heard.until_heard(4)
    said = by_words(heard)
    assert said["a"]["id"] == said["b"]["id"] != said["c"]["id"]
    assert said["d"]["metadata"]["reply_to"] == said["a"]["id"]
