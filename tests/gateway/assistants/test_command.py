"""command:CMD: a program reads the text and writes the answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from megabot_cli.gateway.assistants.command import MOST_HISTORY_BYTES, CommandAssistant, _as_json
from megabot_cli.gateway.assistants.interface import AssistantFailed, Turn
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import House


def running(program: str) -> str:
    """The setting that runs a Python program."""
    return f"command:{shlex.join([sys.executable, '-S', '-c', program])}"


async def said_by(open_house: OpenHouse, program: str, text: str = "Hello", **more: object) -> str:
    house = await open_house(gateway={"assistant": running(program), **more})
    async with house.connected() as peer:
        return str((await peer.answer(await peer.say(text)))[-1]["payload"]["content"])


async def refusal_of(open_house: OpenHouse, assistant: str, **more: object) -> str:
    house = await open_house(gateway={"assistant": assistant, **more})
    async with house.connected() as peer:
        refused = await peer.until("connection_error", await peer.say("Hello"))
        assert (refused["payload"]["error"], refused["payload"]["code"]) == (
            "assistant_failed",
            500,
        )
        return str(refused["payload"]["message"])


async def test_what_a_program_writes_is_the_answer(open_house: OpenHouse) -> None:
    program = "import sys; print(sys.stdin.read().upper() + '€', end='')"
    assert await said_by(open_house, program, "grüße") == "GRÜSSE€"


async def test_it_is_passed_on_as_it_is_written(open_house: OpenHouse) -> None:
    program = "print('early', end='', flush=True); import sys, time; time.sleep(60)"
    house = await open_house(gateway={"assistant": running(program)})
    async with house.connected() as peer:
        await peer.say("Hello")
        assert (await peer.until("chat_stream"))["payload"]["chunk"] == "early"


async def test_a_character_that_comes_in_halves_is_one_character(open_house: OpenHouse) -> None:
    program = (
        "import os, time; b = '€'.encode(); os.write(1, b[:1]); time.sleep(0.2); os.write(1, b[1:])"
    )
    assert await said_by(open_house, program) == "€"


async def test_it_knows_what_was_said_before(open_house: OpenHouse) -> None:
    program = "import os; print(os.environ['MEGABOT_HISTORY'], end='')"
    house = await open_house(gateway={"assistant": running(program)})
    async with house.connected() as peer:
        first = await peer.answer(await peer.say("one"))
        second = await peer.answer(await peer.say("two"))
    assert first[-1]["payload"]["content"] == "[]"
    assert second[-1]["payload"]["content"] == (
        '[{"sender":"user","content":"one"},{"sender":"assistant","content":"[]"}]'
    )


def test_a_history_too_long_for_an_environment_loses_its_oldest_turns() -> None:
    turns = [Turn("user", f"{number} " + "x" * 10_000) for number in range(50)]
    kept = _as_json(turns)
    assert len(kept) <= MOST_HISTORY_BYTES
    assert '"49 x' in kept
    assert '"0 x' not in kept


async def test_an_exit_code_is_told_and_what_it_complained_of_is_not(
    open_house: OpenHouse,
) -> None:
    program = "import sys; sys.stderr.write('the key is 1234'); sys.exit(3)"
    assert await refusal_of(open_house, running(program)) == "The assistant's program ended with 3."


async def test_a_program_that_falls_silent_is_ended(open_house: OpenHouse) -> None:
    words = await refusal_of(
        open_house, running("import time; time.sleep(60)"), assistant_silence_s=0.3
    )
    assert words == "The assistant's program wrote nothing for 0.3 s."


async def test_a_program_that_closes_its_output_and_stays_is_ended(open_house: OpenHouse) -> None:
    program = "import os, time; os.close(1); time.sleep(60)"
    words = await refusal_of(open_house, running(program), assistant_silence_s=2.0)
    assert words == "The assistant's program does not end."


async def test_a_program_that_is_not_there_is_a_refusal(open_house: OpenHouse) -> None:
    words = await refusal_of(open_house, "command:./no-such-program")
    assert words == "The assistant's program cannot be started."


async def test_a_program_that_reads_nothing_may_answer(open_house: OpenHouse) -> None:
    program = "import os; os.close(0); print('deaf', end='')"
    assert await said_by(open_house, program, "x" * 10_000) == "deaf"


async def test_a_program_that_writes_for_ever_is_cut(open_house: OpenHouse) -> None:
    answer = await said_by(open_house, "while True: print('x' * 1000)")
    assert len(answer) == 100_000


async def test_a_program_and_its_children_end_when_the_only_client_says_goodbye(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    program = (
        "import os, subprocess, sys; child = subprocess.Popen(['sleep', '60']);"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}');"
        "print('here', flush=True); child.wait()"
    )
    house = await open_house(gateway={"assistant": running(program)})
    async with house.connected() as peer:
        await peer.say("Hello")
        await peer.until("chat_stream")
        started = [int(pid) for pid in pids.read_text().split()]
        assert all(alive(pid) for pid in started)
    await until_gone(started)


async def test_while_somebody_else_listens_an_answer_goes_on(open_house: OpenHouse) -> None:
    program = "import time; print('a', end='', flush=True); time.sleep(0.5); print('b', end='')"
    house = await open_house(gateway={"assistant": running(program)})
    async with (
        house.connected() as asker,
        house.connected(session_id=asker.session_id) as listener,
    ):
        await asker.say("Hello")
        await asker.until("chat_stream")
        await asker.socket.close()
        assert (await listener.until("chat_receive"))["payload"]["content"] == "ab"


async def test_an_answer_waits_for_a_client_whose_line_was_cut(open_house: OpenHouse) -> None:
    program = "import time; print('a', end='', flush=True); time.sleep(0.5); print('b', end='')"
    house = await open_house(gateway={"assistant": running(program)})
    async with house.connected() as peer:
        await peer.say("Hello")
        await peer.until("chat_stream")
        cut(house)
    async with house.connected(session_id=peer.session_id) as again:
        assert (await again.until("chat_receive"))["payload"]["content"] == "ab"


async def test_what_was_said_before_an_interruption_is_remembered(open_house: OpenHouse) -> None:
    program = (
        "import os, time; print(os.environ['MEGABOT_HISTORY'], end='', flush=True);"
        "'[]' == os.environ['MEGABOT_HISTORY'] and time.sleep(60)"
    )
    house = await open_house(gateway={"assistant": running(program)})
    async with house.connected() as peer:
        await peer.say("one")
        await peer.until("chat_stream")
    async with house.connected(session_id=peer.session_id) as again:
        second = await again.answer(await again.say("two"))
    assert second[-1]["payload"]["content"] == (
        '[{"sender":"user","content":"one"},{"sender":"assistant","content":"[]"}]'
    )


async def test_ten_answers_at_once_are_ten_programs(open_house: OpenHouse) -> None:
    program = "import sys, time; text = sys.stdin.read(); time.sleep(0.2); print(text, end='')"
    house = await open_house(gateway={"assistant": running(program)})

    async def asked(number: int) -> str:
        async with house.connected() as peer:
            return str((await peer.answer(await peer.say(str(number))))[-1]["payload"]["content"])

    assert await asyncio.gather(*map(asked, range(10))) == [str(number) for number in range(10)]


@pytest.mark.parametrize("text", ["x", "x" * 10_000])
async def test_the_pieces_are_the_output(text: str) -> None:
    assistant = CommandAssistant(["cat"])
    assert "".join([piece async for piece in assistant.answer(text, ())]) == text


def cut(house: House) -> None:
    """The line is gone, without a goodbye."""
    for connection in list(house.gateway._connections):
        transport = connection._socket._req.transport
        assert transport is not None
        transport.abort()


def alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    return False


async def until_gone(pids: list[int]) -> None:
    async with asyncio.timeout(5):
        while any(alive(pid) for pid in pids):  # noqa: ASYNC110 (other processes' ends)
            await asyncio.sleep(0.01)


class Ended(CommandAssistant):
    """Speaks to its program only after that has ended."""

    async def _start(self, *arguments: Any) -> asyncio.subprocess.Process:
        process = await super()._start(*arguments)
        await process.wait()
        return process


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_program_that_ended_before_it_was_told_anything_is_told_so(
    run: Callable[[Coroutine[Any, Any, list[str]]], list[str]],
) -> None:
    async def answer(program: str) -> list[str]:
        return [piece async for piece in Ended([program]).answer("Hello" * 100_000, [])]

    assert run(answer("true")) == []
    with pytest.raises(AssistantFailed, match=r"ended with 1\."):
        run(answer("false"))
