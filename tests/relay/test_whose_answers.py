"""In `shared` a recording and a tap say whose each answer is."""

from __future__ import annotations

import json
from pathlib import Path

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


async def asked_in_turns(stage: Stage, url: str) -> None:
    """Three use the same ids at once, one in a batch; the last to ask overtakes who waits."""
    ann, ben, cleo = [(await stage.greeted(url))[0] for _ in range(3)]
    await ann.send("chat_send", "m1", content="one of ann")
    inner = [
        {"id": f"m{n}", "type": "chat_send", "payload": {"content": f"{n} of ben"}} for n in (1, 2)
    ]
    await ben.send("batch", "b1", messages=inner)  # waits for ann's, with all that is in it
    await cleo.send("chat_send", "m2", content="two of cleo")  # is nobody's else by now
    await cleo.send("chat_send", "m1", content="one of cleo")
    await answer_to(ann, "m1")
    await ann.socket.close()
    for peer in (cleo, ben):
        for _ in range(2):
            await peer.message("chat_receive")


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("apart", [False, True], ids=["a thread", "a process"])
async def test_of_one_id_that_several_use_at_once_each_answer_names_the_one_whose_turn_it_was(
    stage: Stage, tmp_path: Path, apart: bool, watched: bool
) -> None:
    gateway = await stage.open_gateway(chunk_delay_s=0.005)
    relay = await stage.open_relay(gateway.url, record=True, mode="shared", apart=apart)
    if watched:
        await stage.connect(relay.tap_url)
    await asked_in_turns(stage, relay.url)
    await relay.stop()
    await gateway.stop()
    assert relay.recorder is not None
    with open_recording(relay.recorder.folder) as reader:
        records = list(reader)
    who = {
        name: next(each.client for each in records if name in (each.data or ""))
        for name in ("ann", "ben", "cleo")
    }
    wholes = [each for each in records if each.type == "chat_receive"]
    assert len(wholes) == 5
    for whole in wholes:
        (asker,) = [name for name in who if f"of {name}" in (whole.data or "")]
        assert whole.client == who[asker], whole
    clients = [each.client for each in records if each.type in ANSWERS]
    assert None not in clients
    assert [each.n for each in records] == list(range(1, len(records) + 1))
