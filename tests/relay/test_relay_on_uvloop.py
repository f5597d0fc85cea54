"""The same promises on the loop that `megabot relay` runs on, whose transports differ."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from megabot_cli.gateway.server import Gateway
from tests.relay import test_relay, test_stopping, test_upstream_away, test_watching
from tests.relay.conftest import Stage, open_stage

uvloop = pytest.importorskip("uvloop", reason="this system has no uvloop")

WITH_GATEWAY = (
    test_relay.test_a_client_without_a_credential_is_greeted_and_answered,
    test_relay.test_every_client_of_a_session_sees_all_of_it,
    test_relay.test_a_message_over_the_limit_is_answered_413_and_the_client_stays,
    test_watching.test_a_tap_shows_both_directions_as_records_without_secrets,
)
ALONE = (
    test_relay.test_binary_is_forwarded_unchanged,
    test_upstream_away.test_clients_stay_while_the_upstream_is_away_and_what_waited_is_answered,
    test_relay.test_a_client_that_does_not_read_is_closed_and_nobody_else_notices,
    test_stopping.test_a_drain_lets_the_answer_under_way_finish_and_closes_with_1012,
)


def name(claim: Callable[..., object]) -> str:
    return claim.__name__.removeprefix("test_")


def run(folder: Path, scene: Callable[[Stage], Awaitable[None]]) -> None:
    async def play() -> None:
        async with open_stage(folder) as stage:
            await scene(stage)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play())


def run_with_gateway(folder: Path, claim: Callable[[Stage, Gateway], Awaitable[None]]) -> None:
    async def scene(stage: Stage) -> None:
        gateway = await stage.open_gateway()
        try:
            await claim(stage, gateway)
        finally:
            await gateway.stop()

    run(folder, scene)


@pytest.mark.parametrize("claim", WITH_GATEWAY, ids=name)
def test_with_our_gateway(
    claim: Callable[[Stage, Gateway], Awaitable[None]], tmp_path: Path
) -> None:
    run_with_gateway(tmp_path, claim)


@pytest.mark.parametrize("claim", ALONE, ids=name)
def test_with_an_upstream_of_its_own(
    claim: Callable[[Stage], Awaitable[None]], tmp_path: Path
) -> None:
    run(tmp_path, claim)
