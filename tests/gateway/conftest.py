"""Gateways on free ports of the loopback, each with its own users, gone with their test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from megabot_cli.config.schema import GatewaySettings, LimitSettings
from megabot_cli.gateway.accounts import Users
from megabot_cli.gateway.keys import Keys
from megabot_cli.gateway.ledger import Ledger
from megabot_cli.gateway.server import Gateway
from tests.gateway.peer import DEADLINE_S, House

OpenHouse = Callable[..., Awaitable[House]]


@pytest.fixture
async def open_house() -> AsyncIterator[OpenHouse]:
    """Start a gateway; settings of its sections by name, the rest goes to `Gateway`.

    No limit, no pause, unless asked for. Everything is stopped after the test, and no task
    may be left.
    """
    async with AsyncExitStack() as cleanup:

        async def start(
            *,
            gateway: dict[str, Any] | None = None,
            limits: dict[str, Any] | None = None,
            data: Path | None = None,
            users: Users | None = None,
            **more: Any,
        ) -> House:
            settings: dict[str, Any] = {"listen": "127.0.0.1:0", "latency_s": 0, "chunk_delay_s": 0}
            ledger = Ledger.open(data)
            if users is None:
                users = Users.open(ledger, cost=2) if data else Users.in_memory(cost=2)
            if not len(users):
                users.add("ada", "lovelace")
            opened = Gateway(
                GatewaySettings(**(settings | (gateway or {}))),
                LimitSettings(**({"messages_per_second": 0.0} | (limits or {}))),
                users,
                keys=Keys.open(ledger),
                ledger=ledger,
                **more,
            )
            await opened.start()
            cleanup.push_async_callback(opened.stop)
            http = await cleanup.enter_async_context(aiohttp.ClientSession())
            return House(opened, http, users.add_api_key("ada"))

        yield start
    await _until_nothing_is_left()


@pytest.fixture
async def house(open_house: OpenHouse) -> House:
    return await open_house()


async def _until_nothing_is_left() -> None:
    ours = asyncio.current_task()

    def left() -> list[str]:
        return [
            task.get_name()
            for task in asyncio.all_tasks()
            if task is not ours and task.get_name().startswith("gateway")
        ]

    async with asyncio.timeout(DEADLINE_S):
        while left():  # noqa: ASYNC110 (there is no event for the end of an unknown task)
            await asyncio.sleep(0.005)
