"""tool_call runs a built-in tool; its tool_result carries the same execution_id."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.gateway.tools import TOOLS, run_tool
from tests.gateway.peer import House


async def call(house: House, name: str, **parameters: Any) -> dict[str, Any]:
    async with house.connected() as peer:
        payload = {"tool_name": name, "parameters": parameters, "execution_id": "exec_1"}
        result = await peer.until("tool_result", await peer.send("tool_call", payload))
        assert result["metadata"]["session_id"] == peer.session_id
        content: dict[str, Any] = result["payload"]
        assert content["execution_id"] == "exec_1"
        return content


async def test_echo_gives_its_parameters_back(house: House) -> None:
    result = await call(house, "echo", text="hi", deep={"list": [1, None]})
    assert result["status"] == "completed"
    assert result["result"] == {"text": "hi", "deep": {"list": [1, None]}}


async def test_time_gives_the_time(house: House) -> None:
    result = (await call(house, "time"))["result"]
    assert result["unix"] == pytest.approx(time.time(), abs=5)
    assert datetime.fromisoformat(result["iso"]).timestamp() == pytest.approx(result["unix"], abs=1)


async def test_random_is_the_same_for_the_same_seed(house: House) -> None:
    one = await call(house, "random", seed=7, low=10, high=20)
    other = await call(house, "random", seed=7, low=10, high=20)
    assert one["result"] == other["result"]
    assert 10 <= one["result"]["value"] <= 20


async def test_sleep_sleeps(house: House) -> None:
    began = time.monotonic()
    assert (await call(house, "sleep", seconds=0.05))["result"] == {"slept_s": 0.05}
    assert time.monotonic() - began >= 0.05


async def test_nobody_waits_for_a_tool_that_takes_its_time(house: House) -> None:
    async with house.connected() as peer:
        payload = {"tool_name": "sleep", "parameters": {"seconds": 60}, "execution_id": "s"}
        await peer.send("tool_call", payload)
        await peer.answer(await peer.say("meanwhile"))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("fail", {}),
        ("no_such_tool", {}),
        ("sleep", {"seconds": 61}),
        ("sleep", {"seconds": "long"}),
        ("random", {"low": 2, "high": 1}),
        ("random", {"seed": [1]}),
        ("random", {"low": 10**400}),
    ],
)
async def test_what_cannot_be_done_is_a_failed_result(
    house: House, name: str, parameters: dict[str, Any]
) -> None:
    async with house.connected() as peer:
        payload = {"tool_name": name, "parameters": parameters, "execution_id": "e"}
        # The standard library's encoder writes integers of any length.
        await peer.send_text(json.dumps({"id": "t", "type": "tool_call", "payload": payload}))
        result = await peer.until("tool_result", "t")
        assert result["payload"]["status"] == "failed"
        assert result["payload"]["output"]


async def test_a_result_too_long_for_a_message_is_a_failed_one(house: House) -> None:
    async with house.connected() as peer:
        parameters = {"text": "x" * (1024 * 1024 - 150)}
        payload = {"tool_name": "echo", "parameters": parameters, "execution_id": "e"}
        result = await peer.until("tool_result", await peer.send("tool_call", payload))
        assert result["payload"]["status"] == "failed"


async def test_tools_at_once_are_bounded_and_the_refusal_says_so(house: House) -> None:
    async with house.connected() as peer:
        payload = {"tool_name": "sleep", "parameters": {"seconds": 60}, "execution_id": "s"}
        for _ in range(101):
            await peer.send("tool_call", payload)
        assert (await peer.until("connection_error"))["payload"]["code"] == 429


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
names = ("seconds", "low", "high", "seed", "message")


@given(
    name=st.sampled_from([name for name in TOOLS if name != "sleep"]),
    parameters=st.dictionaries(st.sampled_from(names) | st.text(max_size=5), any_json),
)
def test_any_parameters_give_a_tool_an_outcome(name: str, parameters: dict[str, Any]) -> None:
    outcome = asyncio.run(run_tool(name, parameters))
    assert outcome.status in ("completed", "failed")
