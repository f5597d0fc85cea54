"""What a client does when its connection falls: come back, in the same session, or say so."""

from __future__ import annotations

import asyncio
import time

import pytest

from megabot_cli.client import ClientEvent
from megabot_cli.errors import (
    ConnectionLost,
    TimedOut,
)
from megabot_cli.protocol.backoff import FullJitter, Linear
from megabot_cli.protocol.compression import compress
from tests.client.conftest import until
from tests.client.conversations import (
    Twice,
    client_of,
    greet_and_answer,
    greet_then_cut,
    read_all,
)
from tests.support.upstream import Connection, ScriptedUpstream

# Coming back


async def test_a_lost_connection_is_restored_in_the_same_session() -> None:
    events: list[ClientEvent] = []
    async with (
        ScriptedUpstream(Twice(greet_then_cut, greet_and_answer)) as upstream,
        client_of(upstream, on_event=events.append) as client,
    ):
        session_id = client.session_id
        await client.send("custom", {"now": "fall"})
        await until(lambda: len(upstream.connections) == 2)
        answer = await client.ask("there?", timeout_s=20)
        assert (answer.text, client.session_id, client.resumed) == ("yes", session_id, True)
    asked = [connection.query.get("session_id") for connection in upstream.connections]
    assert asked == [None, session_id]
    assert [event.kind for event in events] == ["open", "lost", "retry", "resumed", "closed"]
    assert (events[1].close_code, events[2].attempt, events[2].delay_s) == (1006, 1, 0.01)


async def test_a_new_session_is_told_and_what_was_asked_in_the_old_one_fails() -> None:
    async def forget(connection: Connection) -> None:
        await connection.greet("sess_other")
        await connection.until_gone()

    events: list[ClientEvent] = []
    async with (
        ScriptedUpstream(Twice(greet_then_cut, forget)) as upstream,
        client_of(upstream, on_event=events.append) as client,
    ):
        with pytest.raises(ConnectionLost, match="session was lost"):
            await client.ask("hello", timeout_s=20)
        assert (client.session_id, client.resumed) == ("sess_other", False)
    kinds = [event.kind for event in events]
    assert kinds == ["open", "lost", "retry", "new_session", "closed"]


async def test_an_answer_goes_on_where_the_upstream_resumes_it() -> None:
    question_ids: list[str] = []

    async def begin(connection: Connection) -> None:
        await connection.greet()
        question_ids.append((await connection.receive())["id"])
        await connection.stream("one ", "two ", whole=False, reply_to=question_ids[0])
        await connection.cut()

    async def go_on(connection: Connection) -> None:
        await connection.greet()
        reply_to = question_ids[0]
        await connection.stream("two ", "three", first=2, reply_to=reply_to)
        await connection.send("chat_receive", {"content": "one two three"}, reply_to=reply_to)
        await connection.until_gone()

    parts: list[str] = []
    async with ScriptedUpstream(Twice(begin, go_on)) as upstream, client_of(upstream) as client:
        answer = await client.ask("count", timeout_s=20, on_chunk=parts.append)
    assert answer.text == "".join(parts) == "one two three"
    assert (answer.chunks, answer.finished) == (3, True)


async def test_an_answer_that_is_not_resumed_ends_with_its_time() -> None:
    async def resume_and_forget(connection: Connection) -> None:
        await connection.greet()
        await connection.until_gone()

    async with (
        ScriptedUpstream(Twice(greet_then_cut, resume_and_forget)) as upstream,
        client_of(upstream) as client,
    ):
        with pytest.raises(TimedOut):
            await client.ask("hello", timeout_s=0.2)


async def test_gzip_that_unfolds_to_more_than_may_come_ends_the_connection() -> None:
    """As plain text of that length does: nobody waits for an answer that was passed over."""

    async def script(connection: Connection) -> None:
        await connection.greet()
        await connection.receive()
        await connection.send_bytes(compress(b'{"id":"z","type":"x","payload":"%4000d"}' % 1))
        await connection.until_gone()

    async with (
        ScriptedUpstream(script) as upstream,
        client_of(upstream, reconnect=None, max_message_bytes=1000) as client,
    ):
        with pytest.raises(ConnectionLost) as lost:
            await client.ask("hello", timeout_s=20)
        assert lost.value.close_code == 1009
        await until(lambda: upstream.connections[0].socket.close_code == 1009)


async def test_iterating_goes_on_over_the_loss() -> None:
    async def finish(connection: Connection) -> None:
        await connection.greet()
        await connection.send_text("after")
        await connection.close(1000)

    async def begin(connection: Connection) -> None:
        await connection.greet()
        await connection.send_text("before")
        await connection.close(1012)

    async with ScriptedUpstream(Twice(begin, finish)) as upstream, client_of(upstream) as client:
        messages = await read_all(client)
    texts = [received.text for received in messages if received.head is None]
    assert texts == ["before", "after"]
    assert len(messages) == 4  # and the two greetings


async def test_messages_wait_while_the_connection_is_restored() -> None:
    received: list[int] = []

    async def listen(connection: Connection) -> None:
        await connection.greet()
        while True:
            received.append((await connection.receive())["payload"]["n"])

    async def fall(connection: Connection) -> None:
        await connection.greet()
        await connection.cut()

    async with (
        ScriptedUpstream(Twice(fall, listen)) as upstream,
        client_of(upstream, reconnect=Linear(0.2, 5)) as client,
    ):
        await until(lambda: client.state == "reconnecting")
        await asyncio.gather(*(client.send("custom", {"n": number}) for number in range(20)))
        await until(lambda: len(received) == 20)
    assert received == list(range(20))


async def test_an_upstream_that_is_away_for_a_while_is_found_again() -> None:
    events: list[ClientEvent] = []
    async with ScriptedUpstream(greet_and_answer) as upstream:
        schedule = FullJitter(0.05, 0.1)
        async with client_of(upstream, reconnect=schedule, on_event=events.append) as client:
            await upstream.stop()
            await until(lambda: sum(event.kind == "retry" for event in events) >= 3)
            await upstream.start()
            assert (await client.ask("back?", timeout_s=20)).text == "yes"


async def test_a_silent_connection_is_found_out_by_ping() -> None:
    """The peer's machine is gone: no close, no reset, just nothing."""

    async def freeze(connection: Connection) -> None:
        await connection.greet()
        assert connection.request.transport is not None
        connection.request.transport.pause_reading()  # so no pong is ever sent
        await asyncio.sleep(3600)

    events: list[ClientEvent] = []
    async with (
        ScriptedUpstream(Twice(freeze, greet_and_answer)) as upstream,
        client_of(upstream, heartbeat_s=0.2, on_event=events.append) as client,
    ):
        await until(lambda: client.resumed is True)
    assert [event.kind for event in events][:2] == ["open", "lost"]
    assert "no pong" in str(events[1].detail)


async def test_text_that_is_not_utf8_ends_the_connection_with_1007() -> None:
    codes: list[int | None] = []

    async def garble(connection: Connection) -> None:
        await connection.greet()
        await connection.send_raw(b'\x81\x03"\xff"')
        codes.append(await connection.until_gone())

    events: list[ClientEvent] = []
    async with (
        ScriptedUpstream(Twice(garble, greet_and_answer)) as upstream,
        client_of(upstream, on_event=events.append) as client,
    ):
        await until(lambda: client.resumed)
        await until(lambda: codes)
    assert codes == [1007]
    assert events[1].close_code == 1007


async def test_a_broken_frame_ends_the_connection_with_1002() -> None:
    codes: list[int | None] = []

    async def garble(connection: Connection) -> None:
        await connection.greet()
        await connection.send_raw(b"\xff\x00")
        codes.append(await connection.until_gone())

    events: list[ClientEvent] = []
    async with (
        ScriptedUpstream(Twice(garble, greet_and_answer)) as upstream,
        client_of(upstream, on_event=events.append) as client,
    ):
        await until(lambda: client.resumed)
        await until(lambda: codes)
    assert codes == [1002]
    assert events[1].close_code == 1002


async def test_a_message_beyond_the_limit_ends_the_connection_with_1009() -> None:
    async def pour(connection: Connection) -> None:
        await connection.greet()
        await connection.send_text("x" * 5_000)
        await connection.until_gone()

    events: list[ClientEvent] = []
    async with (
        ScriptedUpstream(Twice(pour, greet_and_answer)) as upstream,
        client_of(upstream, max_message_bytes=1000, on_event=events.append) as client,
    ):
        await until(lambda: client.resumed)
    assert events[1].close_code == 1009


# Faults and ends in the middle of it


async def test_closing_while_coming_back_takes_no_time_and_leaves_nothing() -> None:
    async with ScriptedUpstream(greet_then_cut) as upstream:
        before = len(asyncio.all_tasks())
        async with client_of(upstream, reconnect=Linear(60.0, 5)) as client:
            await client.send("custom", {})
            await until(lambda: client.state == "reconnecting")
            began_at = time.monotonic()
        assert time.monotonic() - began_at < 10  # and not the minute until the next dial
        await until(lambda: len(asyncio.all_tasks()) <= before)


async def test_closing_in_the_middle_of_a_dial_leaves_no_connection() -> None:
    async def never_greet(connection: Connection) -> None:
        await connection.until_gone()

    async with ScriptedUpstream(Twice(greet_then_cut, never_greet)) as upstream:
        async with client_of(upstream) as client:
            await client.send("custom", {})
            await until(lambda: len(upstream.connections) == 2)
        await until(lambda: upstream.connections[1].is_gone)


async def test_a_fault_of_on_event_ends_the_client_and_is_raised_at_its_end() -> None:
    def fail(event: ClientEvent) -> None:
        if event.kind == "lost":
            raise ZeroDivisionError

    async with ScriptedUpstream(greet_then_cut) as upstream:
        client = client_of(upstream, on_event=fail)
        await client.open()
        with pytest.raises(ConnectionLost, match="fault of its own"):
            await client.ask("hello", timeout_s=20)
        with pytest.raises(ZeroDivisionError):
            await client.close()
        assert client.state == "closed"


async def test_a_fault_of_on_event_at_the_return_leaves_no_connection() -> None:
    def fail(event: ClientEvent) -> None:
        if event.kind == "resumed":
            raise ZeroDivisionError

    async with ScriptedUpstream(Twice(greet_then_cut, greet_and_answer)) as upstream:
        client = client_of(upstream, on_event=fail)
        await client.open()
        await client.send("custom", {})
        await until(lambda: client.state == "closed")
        await until(lambda: upstream.connections[1].is_gone)
        assert upstream.connections[1].socket.close_code == 1001
        with pytest.raises(ZeroDivisionError):
            await client.close()


async def test_a_fault_of_on_event_is_raised_also_by_a_close_in_the_middle_of_its_goodbye() -> None:
    def fail(event: ClientEvent) -> None:
        if event.kind == "resumed":
            raise ZeroDivisionError

    async def greet_and_be_deaf(connection: Connection) -> None:
        await connection.greet()
        await asyncio.Event().wait()

    async with ScriptedUpstream(Twice(greet_then_cut, greet_and_be_deaf)) as upstream:
        client = client_of(upstream, on_event=fail)
        await client.open()
        await client.send("custom", {})
        await until(lambda: client.state == "closed")
        with pytest.raises(ZeroDivisionError):
            await client.close()


async def test_many_questions_survive_a_stormy_line() -> None:
    """Every third answer the line is cut; answers that were cut are given again on resume."""
    unanswered: dict[str, str] = {}
    answered = 0

    async def stormy(connection: Connection) -> None:
        nonlocal answered
        await connection.greet()
        for message_id, text in list(unanswered.items()):
            await connection.send("chat_receive", {"content": text}, reply_to=message_id)
            del unanswered[message_id]
        while True:
            question = await connection.receive()
            unanswered[question["id"]] = question["payload"]["content"]
            answered += 1
            if answered % 3 == 0:
                await connection.cut()
                return
            text = unanswered.pop(question["id"])
            await connection.send("chat_receive", {"content": text}, reply_to=question["id"])

    async with ScriptedUpstream(stormy) as upstream, client_of(upstream) as client:
        for number in range(20):
            answer = await client.ask(f"question {number}", timeout_s=20)
            assert answer.text == f"question {number}"
    assert len(upstream.connections) == 7
