"""A message of exactly the limit, one byte less, one more: each way, with and without deflate."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.faults.rig import Rig
from tests.faults.upstreams import Lasting, answer
from tests.support.upstream import Connection

MIB = 1 << 20


def sized(name: str, kind: str, key: str, size: int) -> str:
    """A message whose text is exactly that long."""
    message = {"id": name, "type": kind, "payload": {key: ""}, "timestamp": 0}
    missing = size - len(json.dumps(message))
    message["payload"] = {key: "x" * missing}
    text = json.dumps(message)
    assert len(text) == size
    return text


SIZES = (MIB - 1, MIB, MIB + 1)


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflated"])
@pytest.mark.parametrize("mode", ["session", "dedicated"])
async def test_a_message_of_the_limit_goes_up_and_one_byte_more_is_refused(
    rig: Rig, deflate: bool, mode: str
) -> None:
    sizes: list[int] = []

    async def measures(connection: Connection, message: dict[str, Any]) -> None:
        sizes.append(len(json.dumps(message)))
        short = {**message, "payload": {"content": "short"}}
        await answer(connection, short)

    upstream = Lasting()
    upstream.heard = measures  # type: ignore[method-assign]
    server = await rig.upstream(upstream, compress=deflate)
    await rig.open_relay(server.url, relay={"mode": mode}, record=True)
    for size in SIZES:
        sizes.clear()
        client = await rig.client()
        client.ledger.outcomes["m1"] = []
        await client.send(sized("m1", "chat_send", "content", size))
        expected = "reply" if size <= MIB else "error"
        assert await client.settled() == {expected: 1}, size
        assert sizes == ([size] if size <= MIB else [])
        if size > MIB:
            assert client.of_type("connection_error")[0]["payload"]["code"] == 413
        await client.ask("and the client stays")
        await client.settled()


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflated"])
async def test_what_the_upstream_sends_is_not_ours_to_cut(rig: Rig, deflate: bool) -> None:
    upstream = Lasting()
    server = await rig.upstream(upstream, compress=deflate)
    await rig.open_relay(server.url, record=True)
    client = await rig.client()
    assert upstream.connection is not None
    for count, size in enumerate(SIZES, 1):
        await upstream.connection.send_text(sized(f"n{size}", "notification", "message", size))
        await client.until(lambda count=count: len(client.of_type("notification")) == count)  # type: ignore[misc]
        told = client.of_type("notification")[-1]
        del told["metadata"]
        assert len(json.dumps(told)) == size
    assert client.statuses() == []
