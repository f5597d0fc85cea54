"""The recorder may slow a link; order holds and nothing is lost when it does."""

from __future__ import annotations

import json

from tests.relay.conftest import Stage, until
from tests.relay.echo_upstream import echo_upstream


async def test_readers_wait_while_the_recorder_asks_for_patience_and_lose_nothing(
    stage: Stage,
) -> None:
    async with echo_upstream() as url:
        relay = await stage.open_relay(url, record=True)
        peer, _ = await stage.greeted(relay.url)
        recorder = relay.recorder
        assert recorder is not None
        sent = [json.dumps({"id": f"m{n}", "type": "x", "payload": n}) for n in range(300)]
        for number, text in enumerate(sent):
            if number == 100:
                recorder.must_wait = True
            await peer.socket.send_str(text)
        echoed = [await peer.text() for _ in range(50)]
        await until(lambda: not recorder.must_wait)  # the writer itself has caught up
        echoed += [await peer.text() for _ in range(250)]
        assert echoed == sent
