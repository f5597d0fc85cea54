"""In `shared` a recording and a tap say whose each answer is."""

from __future__ import annotations

import json

import pytest

from megabot_cli.client.ids import new_id
from megabot_cli.gateway.server import Gateway
from megabot_cli.recording.record import Record
from megabot_cli.storage.recording_reader import open_recording
from tests.relay.conftest import Peer, Stage
from tests.relay.test_relay import answer_to

ANSWERS = ("chat_stream", "chat_receive")


async def a_talk(stage: Stage, url: str) -> list[Peer]:
    """Two ask at once, and then both with one id, one after the other; a third one listens."""
    peers = [(await stage.greeted(url))[0] for _ in range(3)]
    for name, peer in zip("ab", peers, strict=False):
        await peer.send("chat_send", f"of {name}", content=f"hello from {name}")
    for name, peer in zip("ab", peers, strict=False):
        await answer_to(peer, f"of {name}")
    for name, peer in zip("ab", peers, strict=False):
        await peer.send("chat_send", "m1", content=f"again from {name}")
        await answer_to(peer, "m1")
    return peers


def check(records: list[Record], *, answered: int) -> None:
    """Every answer has the client that sent what it names, the last time."""
    askers: dict[str | None, str | None] = {}
    found = 0
    for record in records:
        if record.direction == "to_upstream":
            askers[record.id] = record.client
        elif record.kind == "message" and record.type in ANSWERS:
            assert record.client is not None, record
            assert record.client == askers[record.reply_to]
            found += record.type == "chat_receive"
        elif record.kind == "message":
            assert record.client is None
    assert found == answered
    assert len(set(askers.values())) == 2


@pytest.mark.parametrize("apart", [False, True], ids=["a thread", "a process"])
async def test_a_recording_of_many_on_one_link_names_the_asker_of_each_answer(
    stage: Stage, gateway: Gateway, apart: bool
) -> None:
    relay = await stage.open_relay(gateway.url, record=True, mode="shared", apart=apart)
    await a_talk(stage, relay.url)
    await relay.stop()
    assert relay.recorder is not None
    with open_recording(relay.recorder.folder) as reader:
        check(list(reader), answered=4)


async def test_it_does_so_too_while_somebody_watches(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url, record=True, mode="shared")
    tap = await stage.connect(relay.tap_url)
    await tap.text()  # the header
    await a_talk(stage, relay.url)
    shown: list[Record] = []
    while sum(each.type == "chat_receive" for each in shown) < 4:
        shown.append(Record(**json.loads(await tap.text())))
    check(shown, answered=4)
    await relay.stop()
    assert relay.recorder is not None
    with open_recording(relay.recorder.folder) as reader:
        check(list(reader), answered=4)


async def test_where_all_hear_an_answer_it_has_no_client(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url, record=True)
    peer, session = await stage.greeted(relay.url)
    await stage.greeted(relay.url, session)
    await peer.send("chat_send", new_id("msg"), content="hi")
    await peer.message("chat_receive")
    await relay.stop()
    assert relay.recorder is not None
    with open_recording(relay.recorder.folder) as reader:
        answers = [each for each in reader if each.type in ANSWERS]
    assert answers
    assert {each.client for each in answers} == {None}


async def test_of_one_id_that_two_use_at_once_nobody_is_named(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url, record=True, mode="shared")
    peers = [(await stage.greeted(relay.url))[0] for _ in range(2)]
    for peer in peers:  # the relay lets them take turns
        await peer.send("chat_send", "m1", content="hi")
    for peer in peers:
        await answer_to(peer, "m1")
    await peers[0].send("chat_send", "m2", content="hi")
    await answer_to(peers[0], "m2")
    await relay.stop()
    assert relay.recorder is not None
    with open_recording(relay.recorder.folder) as reader:
        records = list(reader)
    named = {each.reply_to: each.client for each in records if each.type == "chat_receive"}
    (asked,) = [each.client for each in records if each.id == "m2"]
    assert named == {"m1": None, "m2": asked}
