"""`dedicated` mode has no link when it starts: how its first dial went is told all the same."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from structlog.testing import capture_logs

from megabot_cli.gateway.server import Gateway
from tests.relay.conftest import Stage
from tests.relay.test_dedicated import open_relay
from tests.support.upstream import ScriptedUpstream

NOWHERE = "ws://127.0.0.1:9/ws"


def told(logs: list[Any], event: str) -> list[dict[str, Any]]:
    return [each for each in logs if each["event"] == event]


async def test_an_upstream_that_is_away_at_the_start_is_told_with_what_is_wrong(
    stage: Stage,
) -> None:
    with capture_logs() as logs:
        relay = await open_relay(stage, NOWHERE)
    (failed,) = told(logs, "link.dial_failed")
    assert failed["fault"] == relay.main.fault.message  # type: ignore[union-attr]
    assert "refused" in failed["fault"]


async def test_of_several_profiles_those_that_fail_are_told_by_name(
    stage: Stage, gateway: Gateway
) -> None:
    def refuse(_: web.Request) -> web.StreamResponse:
        return web.json_response({"message": "no"}, status=401)

    async with ScriptedUpstream(gate=refuse) as upstream:
        also = [stage.served("away", NOWHERE), stage.served("wrong", upstream.url)]
        with capture_logs() as logs:
            await open_relay(stage, gateway.url, also=also)
    assert [each["profile"] for each in told(logs, "link.dial_failed")] == ["away"]
    (refused,) = told(logs, "link.refused")
    assert refused["profile"] == "wrong"
    assert "megabot -p wrong login" in refused["hint"]
