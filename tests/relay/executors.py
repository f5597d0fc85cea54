"""An upstream that calls tools, and how the tests answer it."""

from __future__ import annotations

import gzip
import json
from typing import Any

from megabot_cli.relay.server import Relay
from tests.relay.conftest import Peer, Stage, enveloped, until
from tests.support.upstream import Connection, ScriptedUpstream

MARKED = ("megabot.relay.v1",)


class Calling:
    """An upstream that calls a tool when told to, and keeps the results."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.results: list[dict[str, Any]] = []

    async def __call__(self, connection: Connection) -> None:
        await connection.greet()
        self.connection = connection
        while True:
            text = await connection.receive_text()
            self.results.append(
                json.loads(text if isinstance(text, str) else gzip.decompress(text))
            )

    def has(self, count: int) -> bool:
        return len(self.results) == count

    def got(self, message_id: str) -> bool:
        return any(result["id"] == message_id for result in self.results)

    async def resumed(self, relay: Relay) -> None:
        """Break the connection, and return when the relay is back in the same session."""
        before = self.connection
        assert before is not None
        await before.cut()
        await until(lambda: self.connection is not before and relay.sessions[0].link.up, 10.0)

    async def call_as(self, message_id: str, execution_id: str) -> None:
        assert self.connection is not None
        payload = {"tool_name": "ls", "execution_id": execution_id, "parameters": {}}
        await self.connection.send_text(json.dumps(enveloped("tool_call", message_id, **payload)))

    async def call(self, execution_id: str = "exec_1", **metadata: Any) -> None:
        assert self.connection is not None
        payload = {"tool_name": "ls", "execution_id": execution_id, "parameters": {}}
        await self.connection.send("tool_call", payload, **metadata)


async def at_work(
    stage: Stage,
    calling: tuple[Calling, ScriptedUpstream],
    *,
    message_id: str = "call_1",
    **options: Any,
) -> tuple[Relay, Peer, str]:
    """A relay with an executor that has just been called for `exec_1`, and its session."""
    script, upstream = calling
    relay = await stage.open_relay(upstream.url, **options)
    executor, session = await stage.greeted(relay.url, role="executor")
    await script.call_as(message_id, "exec_1")
    assert (await executor.message("tool_call"))["payload"]["execution_id"] == "exec_1"
    return relay, executor, session


async def answered_in_vain(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> tuple[Relay, Peer]:
    """The same, and the executor's result `r1` could not go up: the upstream is away."""
    relay, executor, _ = await at_work(stage, calling, message_id="same", wait_s=0.2)
    await calling[1].stop()
    await executor.message("status_update")
    await answer(executor, "r1", "done")
    assert (await executor.message("connection_error"))["metadata"]["reply_to"] == "r1"
    return relay, executor


async def answer(peer: Peer, message_id: str, output: str, execution_id: str = "exec_1") -> None:
    await peer.send(
        "tool_result", message_id, execution_id=execution_id, status="completed", output=output
    )


async def cursor_of(peer: Peer) -> str:
    greeting = await peer.message("connection_established")
    return str(greeting["metadata"]["megabot"]["cursor"])


def call_of(execution_id: str) -> dict[str, Any]:
    payload = {"tool_name": "ls", "execution_id": execution_id, "parameters": {}}
    return enveloped("tool_call", f"of {execution_id}", **payload)
