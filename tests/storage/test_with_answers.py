"""Who names clients wants to know what came to them, also where all of a session hear it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.storage.recording_reader import open_recording
from megabot_cli.storage.with_answers import choose_with_answers
from tests.replay.conftest import write_recording


def record(n: int, direction: str, client: str | None, link: str, **fields: Any) -> Record:
    return Record(
        n=n, t=n, kind=fields.pop("kind", "message"), direction=direction, client=client,
        link=link, **fields,
    )  # fmt: skip


def up(n: int, client: str, message_id: str, link: str = "l1") -> Record:
    text = json.dumps({"id": message_id, "type": "chat_send", "payload": {}})
    return record(n, "to_upstream", client, link, type="chat_send", id=message_id, data=text)


def down(n: int, reply_to: str | None, link: str = "l1") -> Record:
    return record(n, "to_client", None, link, type="chat_receive", reply_to=reply_to, data="{}")


def batch(n: int, direction: str, client: str | None, *inner: dict[str, Any]) -> Record:
    text = json.dumps({"id": f"b{n}", "type": "batch", "payload": {"messages": inner}})
    return record(n, direction, client, "l1", type="batch", id=f"b{n}", data=text)


TWO_ON_ONE_LINK = [
    up(1, "ann", "m1"),
    up(2, "ben", "m2"),
    down(3, "m2"),
    down(4, "m1"),
    down(5, None),  # nobody knows whose
    up(6, "ann", "m1", "l2"),  # alone on another
    down(7, None, "l2"),
    down(8, "m1", "l3"),
    batch(9, "to_upstream", "ann", {"id": "m9", "type": "chat_send", "payload": {}}),
    batch(10, "to_client", None, {"id": "u", "type": "chat_receive", "payload": {},
                                  "metadata": {"reply_to": "m9"}}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"clients": ("ann",)}, [1, 4, 6, 7, 9, 10]),
        ({"clients": ("be*",)}, [2, 3]),
        ({"clients": ("ann",), "limit": 2}, [1, 4]),
        ({"clients": ("ann",), "types": ("chat_send",)}, [1, 6]),
        ({"clients": ("ann",), "around": 1, "limit": 1}, [1, 2]),
        ({"links": ("l2",)}, [6, 7]),
    ],
)
def test_the_answers_to_chosen_clients_are_chosen(
    tmp_path: Path, words: dict[str, Any], expected: list[int]
) -> None:
    path = write_recording(tmp_path / "x.jsonl", TWO_ON_ONE_LINK)
    with open_recording(path) as reader:
        found = [each.n for each, _ in choose_with_answers(reader, Selection(**words))]
    assert found == expected


def chunk(n: int, reply_to: str, *, last: bool) -> Record:
    text = json.dumps({"type": "chat_stream", "payload": {"chunk": "x", "is_complete": last}})
    return record(n, "to_client", None, "l1", type="chat_stream", reply_to=reply_to, data=text)


ONE_ID_AGAIN = [
    up(1, "ann", "1"),
    chunk(2, "1", last=False),
    chunk(3, "1", last=True),
    down(4, "1"),  # the whole text of what was streamed
    up(5, "ben", "1"),
    down(6, "1"),
    up(7, "ann", "1"),
    up(8, "ben", "1"),
    down(9, "1"),  # to who asked first
    down(10, "1"),
]


@pytest.mark.parametrize(
    ("client", "expected"), [("ann", [1, 2, 3, 4, 7, 9]), ("ben", [5, 6, 8, 10])]
)
def test_an_id_that_another_client_uses_later_is_that_ones(
    tmp_path: Path, client: str, expected: list[int]
) -> None:
    path = write_recording(tmp_path / "x.jsonl", ONE_ID_AGAIN)
    with open_recording(path) as reader:
        wanted = Selection(clients=(client,))
        found = [each.n for each, _ in choose_with_answers(reader, wanted)]
    assert found == expected
