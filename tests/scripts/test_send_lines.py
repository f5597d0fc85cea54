"""Many messages from stdin: what becomes of each when the line breaks or time runs out."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.scripts.conftest import Operator
from tests.support.processes import Processes, megabot
from tests.support.upstream import Connection, ScriptedUpstream


async def answers(connection: Connection, number: int | None = None) -> None:
    """Answer so many questions, or all."""
    while number is None or number > 0:
        asked = await connection.receive()
        words = asked["payload"]["content"]
        await connection.send("chat_receive", {"content": words.upper()}, reply_to=asked["id"])
        number = None if number is None else number - 1


async def sent(
    processes: Processes, operator: Operator, upstream: ScriptedUpstream, typed: str, *more: str
) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, results and stderr."""
    environment = operator.environment({"MEGABOT_URL": upstream.url, "MEGABOT_TOKEN": "t"})
    line = megabot("send", "--jsonl", "-", "--direct", *more)
    process = processes.start("send", line, typed=typed, env=environment)
    code = await asyncio.to_thread(process.wait, 30.0)
    return code, process.json_lines(), process.errors


async def test_what_was_not_answered_is_told_and_the_next_are_sent_once_connected_again(
    processes: Processes, stranger: Operator
) -> None:
    async def breaks_once(connection: Connection) -> None:
        await connection.greet(connection.upstream.new_session_id())
        if len(connection.upstream.connections) == 1:
            await answers(connection, 1)
            await connection.receive()
            await connection.cut()
        await answers(connection)

    async with ScriptedUpstream(breaks_once) as upstream:
        code, results, said = await sent(processes, stranger, upstream, "one\ntwo\nthree\nfour\n")
    two = results[1]
    assert [each["line"] for each in results] == [1, 2, 3, 4]
    assert [each.get("answer") for each in results] == ["ONE", None, "THREE", "FOUR"]
    assert (two["error"]["code"], two["error"]["exit"]) == ("connection_lost", 8)
    assert two["id"].startswith("msg_")
    assert (code, "1 of 4 messages failed" in said) == (14, True)


async def test_what_was_not_sent_is_told_line_by_line_when_the_connection_is_gone(
    processes: Processes, stranger: Operator
) -> None:
    async def ends(connection: Connection) -> None:
        await connection.greet()
        await answers(connection, 1)
        await connection.receive()
        await connection.close(4508, "enough")

    async with ScriptedUpstream(ends) as upstream:
        code, results, said = await sent(processes, stranger, upstream, "one\ntwo\n\nfour\nfive\n")
    assert [each["line"] for each in results] == [1, 2, 4, 5]
    errors = [each["error"]["message"].partition(":")[0] for each in results[1:]]
    assert errors == ["sent, but not answered", "not sent", "not sent"]
    assert ["id" in each for each in results] == [True, True, False, False]
    assert (code, "3 of 4 messages failed; 2 of them not sent" in said) == (8, True)


async def test_the_timeout_is_that_of_all_lines_together(
    processes: Processes, stranger: Operator
) -> None:
    async def slow(connection: Connection) -> None:
        await connection.greet()
        for _ in range(2):
            await asyncio.sleep(0.4)
            await answers(connection, 1)
        await connection.until_gone()

    async with ScriptedUpstream(slow) as upstream:
        typed = "one\ntwo\nthree\nfour\n"
        code, results, said = await sent(processes, stranger, upstream, typed, "--timeout", "5s")
    assert [each.get("answer") for each in results] == ["ONE", "TWO", None, None]
    assert results[2]["error"]["message"].startswith("sent, but not answered: ")
    assert results[3]["error"]["message"].startswith("not sent: ")
    assert {each["error"]["exit"] for each in results[2:]} == {3}
    assert (code, "not over within 5 s" in said) == (3, True)
