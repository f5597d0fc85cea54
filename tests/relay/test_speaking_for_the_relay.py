"""Nobody but the relay speaks in its corner, `metadata.megabot`."""

from __future__ import annotations

import json

import pytest

from tests.relay.conftest import Stage
from tests.relay.test_shared import open_relay
from tests.support.upstream import Connection, ScriptedUpstream


async def test_nobody_but_the_relay_speaks_in_its_corner(stage: Stage) -> None:
    seen: list[str | bytes] = []

    async def look(connection: Connection) -> None:
        await connection.greet()
        seen.append(await connection.receive_text())
        await connection.send("notification", {"title": "x"}, megabot={"read_only": True}, k=1)
        await connection.until_gone()

    async with ScriptedUpstream(look) as upstream:
        relay = await open_relay(stage, upstream.url)
        plain, _ = await stage.greeted(relay.url)
        marked = await stage.connect(relay.url, protocols=("megabot.relay.v1",))
        greeting = await marked.message("connection_established")
        cursor = greeting["metadata"]["megabot"]["cursor"]
        text = (
            '{"id":"m1","type":"x","payload":{"n": 1.0},"metadata":{"megabot":{"cursor":"mine"}}}'
        )
        await plain.socket.send_str(text)
        notification = await plain.message("notification")
        assert json.loads(seen[0]) == {"id": "m1", "type": "x", "payload": {"n": 1.0}}
        assert notification["metadata"] == {"k": 1}
        metadata = (await marked.message("notification"))["metadata"]
        epoch, _, seq = cursor.partition(":")
        assert metadata == {"k": 1, "megabot": {"cursor": f"{epoch}:{int(seq) + 1}"}}


@pytest.mark.parametrize("mode", ["session", "shared"])
@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        pytest.param(
            '{"type":"x","payload":1,"metadata":{"megabot":{"read_only":true},"k":1}}',
            '{"type":"x","payload":1,"metadata":{"k":1}}',
            id="no id",
        ),
        pytest.param('{"metadata":{"megabot":1},"x":1.0}', '{"x":1.0}', id="no type"),
        pytest.param('{"metadata":{"megabot":null},"x":1.0}', '{"x":1.0}', id="null, no type"),
        pytest.param(
            '{"id":"m1","type":"x","payload":1,"metadata":{"megabot":null,"k":1}}',
            '{"id":"m1","type":"x","payload":1,"metadata":{"k":1}}',
            id="null",
        ),
        pytest.param(
            '{"id":"m1","type":"x","payload":1,"metadata":{"megabot":null,"user_id":7}}',
            '{"id":"m1","type":"x","payload":1,"metadata":{"user_id":7}}',
            id="null, beside what is wrong",
        ),
        pytest.param(
            '{"id":"m1","type":"notification","payload":{"title":"x"},"metadata":{"megabot":null}}',
            '{"id":"m1","type":"notification","payload":{"title":"x"}}',
            id="null, of a type that is checked",
        ),
        pytest.param(
            '{"id":"m1","type":"notification","payload":{"title":"x"},"metadata":{"megabot":1}}',
            '{"id":"m1","type":"notification","payload":{"title":"x"}}',
            id="of a type that is checked",
        ),
        pytest.param(
            '{"id":"b","type":"batch","payload":{"messages":'
            '[{"id":"m1","type":"x","payload":1,"metadata":{"megabot":1}}]}}',
            '{"id":"b","type":"batch","payload":{"messages":[{"id":"m1","type":"x","payload":1}]}}',
            id="in a batch",
        ),
        pytest.param(
            '{"id":"b","type":"batch","payload":{"messages":'
            '[{"id":"m1","type":"x","payload":1,"metadata":{"megabot":null}}]}}',
            '{"id":"b","type":"batch","payload":{"messages":[{"id":"m1","type":"x","payload":1}]}}',
            id="null in a batch",
        ),
    ],
)
async def test_nobody_speaks_in_it_where_there_is_no_envelope_or_one_within_another(
    stage: Stage, mode: str, text: str, cleaned: str
) -> None:
    seen: list[str | bytes] = []

    async def look(connection: Connection) -> None:
        await connection.greet()
        seen.append(await connection.receive_text())
        await connection.send_text(text)
        await connection.until_gone()

    async with ScriptedUpstream(look) as upstream:
        relay = await stage.open_relay(upstream.url, mode=mode)
        plain, _ = await stage.greeted(relay.url)
        await plain.socket.send_str(text)
        inner = json.loads(cleaned).get("payload")
        # There each message of a batch is for its asker.
        apart = mode == "shared" and isinstance(inner, dict) and "messages" in inner
        came = await plain.text()
        assert came == cleaned if not apart else json.loads(came) == inner["messages"][0]
        assert seen == [cleaned]
