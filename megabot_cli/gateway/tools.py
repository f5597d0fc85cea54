"""Tools that a client may have run here; none of them touches the machine."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

LONGEST_SLEEP_S = 60.0
LONG_S = 0.5  # what takes longer tells how far it has come
SLEEP_STEPS = 10


class Outcome(msgspec.Struct, frozen=True):
    """What a `tool_result` carries."""

    status: Literal["completed", "failed"]
    result: Any = None
    output: str = ""


class ToolFailed(Exception):
    """The tool says why it has no result."""


OnProgress = Callable[[float], None]
Tool = Callable[[Mapping[str, Any], OnProgress], Awaitable[Outcome]]


async def run_tool(
    name: str, parameters: Mapping[str, Any], on_progress: OnProgress = lambda _: None
) -> Outcome:
    """Run a built-in tool. What goes wrong is an outcome too.

    One that takes its time tells how far it has come, from 0 to 1.
    """
    tool = TOOLS.get(name)
    if tool is None:
        known = ", ".join(sorted(TOOLS))
        return Outcome("failed", output=f"There is no tool {name}; there are {known}.")
    try:
        return await tool(parameters, on_progress)
    except ToolFailed as fault:
        return Outcome("failed", output=str(fault))


async def _echo(parameters: Mapping[str, Any], _: OnProgress) -> Outcome:
    return Outcome("completed", dict(parameters), "The parameters, as they came.")


async def _time(parameters: Mapping[str, Any], _: OnProgress) -> Outcome:
    now = datetime.now(UTC)
    result = {"unix": round(now.timestamp(), 3), "iso": now.isoformat(timespec="milliseconds")}
    return Outcome("completed", result, result["iso"])  # type: ignore[arg-type]


async def _random(parameters: Mapping[str, Any], _: OnProgress) -> Outcome:
    """A number within `low`..`high`; the same `seed` gives the same number."""
    low = _number(parameters, "low", 0.0)
    high = _number(parameters, "high", 1.0)
    if low > high:
        raise ToolFailed("low must not be above high.")
    seed = parameters.get("seed")
    if not isinstance(seed, int | float | str | None):
        raise ToolFailed("seed must be a number or a text.")
    value = random.Random(seed).uniform(low, high)  # noqa: S311 (a toy, not a secret)
    return Outcome("completed", {"value": value}, str(value))


async def _sleep(parameters: Mapping[str, Any], on_progress: OnProgress) -> Outcome:
    seconds = _number(parameters, "seconds", 1.0)
    if not 0 <= seconds <= LONGEST_SLEEP_S:
        raise ToolFailed(f"seconds must be within 0..{LONGEST_SLEEP_S:.0f}.")
    steps = SLEEP_STEPS if seconds >= LONG_S else 1
    for step in range(steps):
        if steps > 1:
            on_progress(step / steps)
        await asyncio.sleep(seconds / steps)
    return Outcome("completed", {"slept_s": seconds}, f"Slept {seconds:g} s.")


async def _fail(parameters: Mapping[str, Any], _: OnProgress) -> Outcome:
    reason = parameters.get("message")
    raise ToolFailed(reason if isinstance(reason, str) else "It was asked to fail.")


def _number(parameters: Mapping[str, Any], name: str, default: float) -> float:
    value = parameters.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ToolFailed(f"{name} must be a number.")
    try:
        return float(value)
    except OverflowError as fault:
        raise ToolFailed(f"{name} is too large.") from fault


TOOLS: Mapping[str, Tool] = {
    "echo": _echo,
    "time": _time,
    "random": _random,
    "sleep": _sleep,
    "fail": _fail,
}
