"""An upstream that goes on in another session while the link is up."""

from __future__ import annotations

import pytest

from tests.relay.conftest import Stage, until
from tests.relay.executors import MARKED, cursor_of
from tests.support.upstream import Connection, ScriptedUpstream


@pytest.mark.parametrize("mode", ["session", "shared"])
async def test_an_upstream_that_goes_on_in_another_session_is_asked_for_that_one(
    stage: Stage, mode: str
) -> None:
    moved: list[Connection] = []
    asked: list[str | None] = []

    async def forgets(connection: Connection) -> None:
        asked.append(connection.query.get("session_id"))
        await connection.greet()
        await connection.receive_text()
        await connection.send("notification", {"title": "before"})
        moved.append(connection)
        await connection.greet("sess_other")
        await connection.send("notification", {"title": "after"})
        await connection.until_gone()

    async with ScriptedUpstream(forgets) as upstream:
        relay = await stage.open_relay(upstream.url, mode=mode)
        peer = await stage.connect(relay.url, "sess_first", protocols=MARKED)
        cursor = await cursor_of(peer)
        await peer.send("chat_send", "m1", content="go")
        assert (await peer.message())["payload"] == {"title": "before"}
        greeting = await peer.message()
        assert greeting["payload"]["session_id"] == "sess_other"
        assert (
            greeting["metadata"]["megabot"]["cursor"].partition(":")[0] != cursor.partition(":")[0]
        )
        assert (await peer.message())["payload"] == {"title": "after"}
        assert relay.numbers.resumes["new_session"] == 1
        late, session = await stage.greeted(relay.url, "sess_other")
        assert session == "sess_other"
        assert len([each for each in relay.sessions if each.clients]) == 1
        asked.clear()
        await moved[0].cut()
        await until(lambda: asked, 10)
        assert asked == ["sess_other"]
        assert (await late.message())["type"] == "status_update"
        await relay.stop()


async def test_a_greeting_that_says_nothing_new_is_a_message_as_any(stage: Stage) -> None:
    async def twice(connection: Connection) -> None:
        await connection.greet()
        await connection.receive_text()
        await connection.greet(capabilities=["more"])
        await connection.until_gone()

    async with ScriptedUpstream(twice) as upstream:
        relay = await stage.open_relay(upstream.url)
        peer, session = await stage.greeted(relay.url)
        epoch = relay.sessions[0].ring.epoch
        await peer.send("chat_send", "m1", content="go")
        again = await peer.message()
        assert again["payload"]["session_id"] == session
        assert again["payload"]["capabilities"] == ["more"]
        assert relay.sessions[0].ring.epoch == epoch
        await relay.stop()
