"""Results of tool calls that the upstream makes, replayed: each names the call that came now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from megabot_cli.recording.bounds import Place
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.replay.conversation import read_conversation
from megabot_cli.replay.options import Pace, ReplayOptions
from megabot_cli.replay.player import Replay
from megabot_cli.storage.recording_reader import open_recording
from tests.replay.conftest import Endpoint, write_recording
from tests.replay.records import came, replay, sent
from tests.replay.texts import answer, message, say
from tests.support.upstream import Connection, ScriptedUpstream


def a_talk_with_tools(tmp_path: Path, *, named: bool) -> Path:
    """A question for which two tools are called, one after the other's result; then another."""

    def came_after(n: int, text: str) -> Record:
        return msgspec.structs.replace(came(n, text), t=n * 1000)

    records = [
        sent(1, say("use your tools", "m1")),
        came_after(2, tool_call("e1", "read", "m1" if named else None)),
        sent(3, tool_result("e1"), t=3000),
        came_after(4, tool_call("e2", "write", "m1" if named else None)),
        sent(5, tool_result("e2"), t=5000),
        came_after(6, answer("done", reply_to="m1")),
        sent(7, say("thanks", "m7"), t=60_000),
        came_after(61, answer("welcome", reply_to="m7")),
    ]
    return write_recording(tmp_path / "tools.jsonl", records)


def tool_call(execution_id: str, tool: str, reply_to: str | None) -> str:
    payload = {"tool_name": tool, "parameters": {}, "execution_id": execution_id}
    return message("tool_call", payload, reply_to=reply_to)


def tool_result(execution_id: str) -> str:
    return message("tool_result", {"execution_id": execution_id, "status": "done"})


def uses_tools(heard: list[str], *, named: bool) -> Callable[[Connection], Awaitable[None]]:
    """An upstream that calls them one after the other, each later than it came then."""

    async def script(connection: Connection) -> None:
        await connection.greet()
        question = (await connection.receive())["id"]
        metadata = {"reply_to": question} if named else {}
        for tool in ("read", "write"):
            await asyncio.sleep(0.1)
            call: dict[str, object] = {
                "tool_name": tool,
                "parameters": {},
                "execution_id": f"{tool} {question}",
            }
            await connection.send("tool_call", call, **metadata)
            heard.append((await connection.receive())["payload"]["execution_id"].split()[0])
        await connection.send_text(answer("done", reply_to=question))
        thanks = await connection.receive()
        await connection.send_text(answer("welcome", reply_to=thanks["id"]))
        await connection.until_gone()

    return script


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("pace", ["fast", "original", "reply"])
async def test_a_tool_result_waits_for_the_call_that_it_is_for(
    tmp_path: Path, pace: Pace, named: bool
) -> None:
    heard: list[str] = []
    script = uses_tools(heard, named=named)
    path = a_talk_with_tools(tmp_path, named=named)
    options = ReplayOptions(pace=pace, allow_tools=True, settle_s=5)
    async with ScriptedUpstream(script) as upstream:
        report = await replay(path, Endpoint(upstream.url).new_client, options)
    assert heard == ["read", "write"]
    assert (report.sent, report.different, report.missing) == (4, 0, 0)
    assert report.duration_s < 5


async def test_a_result_in_the_context_names_the_call_that_came_now(tmp_path: Path) -> None:
    heard: list[str] = []
    path = a_talk_with_tools(tmp_path, named=True)
    options = ReplayOptions(
        pace="fast",
        selection=Selection(begin=Place("number", 7)),
        with_context=True,
        allow_tools=True,
    )
    async with ScriptedUpstream(uses_tools(heard, named=True)) as upstream:
        async with asyncio.timeout(options.settle_s / 2):  # nothing is waited for in vain
            report = await replay(path, Endpoint(upstream.url).new_client, options)
    assert heard == ["read", "write"]
    assert (report.context, report.sent, report.same) == (3, 1, 1)


async def test_a_question_in_the_context_is_not_waited_for_where_its_tools_are_not_answered(
    tmp_path: Path,
) -> None:
    async def script(connection: Connection) -> None:
        await connection.greet()
        question = (await connection.receive())["id"]
        await connection.send_text(tool_call("e1", "read", question))
        thanks = await connection.receive()
        await connection.send_text(answer("welcome", reply_to=thanks["id"]))
        await connection.until_gone()

    path = a_talk_with_tools(tmp_path, named=True)
    options = ReplayOptions(
        pace="fast", selection=Selection(begin=Place("number", 7)), with_context=True
    )
    async with ScriptedUpstream(script) as upstream:
        async with asyncio.timeout(options.settle_s / 2):
            report = await replay(path, Endpoint(upstream.url).new_client, options)
    assert (report.context, report.sent, report.same) == (1, 1, 1)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("pace", ["fast", "reply"])
async def test_a_talk_with_tools_replays_twice_with_the_same_verdicts(
    tmp_path: Path, pace: Pace, named: bool
) -> None:
    heard: list[str] = []
    path = a_talk_with_tools(tmp_path, named=named)
    options = ReplayOptions(pace=pace, expect="exact", allow_tools=True, settle_s=5)
    async with ScriptedUpstream(uses_tools(heard, named=named)) as upstream:
        endpoint = Endpoint(upstream.url)
        with open_recording(path) as reader:
            conversation = read_conversation(reader, options)
        two_rounds = await Replay(conversation, options, endpoint.new_client).play(2)
        again = await replay(path, endpoint.new_client, options)
    verdicts = [(case.name.removesuffix(", round 2"), case.verdict) for case in two_rounds.cases]
    assert verdicts[: again.compared] == verdicts[again.compared :]
    assert (two_rounds.report.same, two_rounds.report.failed) == (2 * again.same, 0)
    assert again.passed
    assert again.same >= 2
    assert heard == ["read", "write"] * 3


@pytest.mark.parametrize("allowed", [False, True])
async def test_what_was_answered_with_a_tools_result_that_is_not_sent_is_not_compared(
    tmp_path: Path, allowed: bool
) -> None:
    chosen = ReplayOptions(pace="fast", allow_tools=allowed, limit=1)
    heard: list[str] = []
    path = a_talk_with_tools(tmp_path, named=True)
    async with ScriptedUpstream(uses_tools(heard, named=True)) as upstream:
        report = await replay(path, Endpoint(upstream.url).new_client, chosen)
    assert (report.passed, report.uncompared) == (True, 1), report.lines()
    assert report.duration_s < 5  # nobody waits for it either


async def test_calls_that_do_not_come_are_waited_for_once(tmp_path: Path) -> None:
    async def script(connection: Connection) -> None:
        await connection.greet()
        question = (await connection.receive())["id"]
        await connection.send_text(answer("done", reply_to=question))
        await connection.until_gone()

    path = a_talk_with_tools(tmp_path, named=True)
    options = ReplayOptions(pace="fast", allow_tools=True, settle_s=0.5)
    async with ScriptedUpstream(script) as upstream:
        report = await replay(path, Endpoint(upstream.url).new_client, options)
    assert report.sent == 4
    assert report.duration_s < 1.4  # for a call, and in the end for the answers
