"""What a client does beside asking, each an option: batches, handlers, tools, figures, a log."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest
import structlog

from megabot_cli.client import MegaBotClient, Received, correlation
from megabot_cli.client.observing import MessageLog
from megabot_cli.errors import BadData, ConnectionLost
from megabot_cli.protocol.signing import Signer
from tests.client.conftest import until
from tests.client.conversations import client_of, echo, read_all
from tests.support.upstream import Connection, ScriptedUpstream

SECRET = "hunter22-and-more"


class Listener:
    """An upstream that keeps what it hears, and answers each chat_send."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []

    async def __call__(self, connection: Connection) -> None:
        await connection.greet()
        while True:
            message = await connection.receive()
            self.heard.append(message)
            inner = message["payload"].get("messages", [message])
            for one in inner:
                if one["type"] == "chat_send":
                    content = one["payload"]["content"]
                    await connection.send("chat_receive", {"content": content}, reply_to=one["id"])


# Batches


async def test_what_is_sent_within_a_tenth_of_a_second_leaves_as_one_batch() -> None:
    listener = Listener()
    async with (
        ScriptedUpstream(listener) as upstream,
        client_of(upstream, batching=True) as client,
    ):
        answers = await asyncio.gather(*(client.ask(f"question {n}") for n in range(5)))
    assert [answer.text for answer in answers] == [f"question {n}" for n in range(5)]
    (batch,) = listener.heard
    assert batch["type"] == "batch"
    assert [one["payload"]["content"] for one in batch["payload"]["messages"]] == [
        f"question {n}" for n in range(5)
    ]


async def test_a_batch_has_ten_messages_at_most_and_keeps_their_order() -> None:
    listener = Listener()
    async with (
        ScriptedUpstream(listener) as upstream,
        client_of(upstream, batching=True) as client,
    ):
        await asyncio.gather(*(client.send("chat_send", {"content": str(n)}) for n in range(25)))
        await until(lambda: len(listener.heard) == 3)
    sizes = [len(one["payload"]["messages"]) for one in listener.heard]
    assert sizes == [10, 10, 5]
    said = [
        one["payload"]["content"] for each in listener.heard for one in each["payload"]["messages"]
    ]
    assert said == [str(n) for n in range(25)]


async def test_one_alone_leaves_unwrapped_and_an_invalid_one_is_refused_before() -> None:
    listener = Listener()
    async with (
        ScriptedUpstream(listener) as upstream,
        client_of(upstream, batching=True) as client,
    ):
        assert (await client.ask("alone")).text == "alone"
        with pytest.raises(BadData):
            await client.send("chat_send", {"content": ""})
    assert [one["type"] for one in listener.heard] == ["chat_send"]


async def test_what_waits_for_a_batch_ends_with_the_client() -> None:
    async with ScriptedUpstream(Listener()) as upstream:
        client = client_of(upstream, batching=True)
        async with client:
            waiting = asyncio.ensure_future(client.send("chat_send", {"content": "late"}))
            await asyncio.sleep(0)
        with pytest.raises((asyncio.CancelledError, ConnectionLost)):
            await waiting


async def test_a_batch_that_comes_is_heard_as_its_messages() -> None:
    async def script(connection: Connection) -> None:
        await connection.greet()
        question = await connection.receive()
        metadata = {"reply_to": question["id"]}
        chunks = [
            {
                "id": f"c{n}", "type": "chat_stream", "metadata": metadata,
                "payload": {"chunk": text, "sequence": n, "is_complete": n == 2},
            }
            for n, text in ((1, "in "), (2, "a batch"))
        ]  # fmt: skip
        await connection.send("batch", {"messages": chunks})
        await connection.socket.close()

    async with ScriptedUpstream(script) as upstream, client_of(upstream, reconnect=None) as client:
        assert (await client.ask("how?")).text == "in a batch"
        types = [one.head.type for one in await read_all(client) if one.head]
        assert types == ["connection_established", "chat_stream", "chat_stream"]


# Handlers and tools


async def test_handlers_hear_their_type_and_a_bad_one_disturbs_nobody() -> None:
    heard: list[str] = []
    async with ScriptedUpstream(echo) as upstream:
        client = client_of(upstream)

        @client.on("chat_receive")
        def bad(_: Received) -> None:
            raise ValueError("a fault of the handler")

        @client.on("chat_receive")
        async def later(received: Received) -> None:
            await asyncio.sleep(0)
            heard.append(f"later {received.payload()['content']}")

        @client.on("*")
        def every(received: Received) -> None:
            heard.append(str(received.head and received.head.type))

        with structlog.testing.capture_logs() as logged:
            async with client:
                assert (await client.ask("hi")).text == "hi"
                await until(lambda: "later hi" in heard)
    assert heard[0] == "connection_established"
    assert heard.count("chat_stream") == 2
    assert [one["event"] for one in logged] == ["handler.failed"]


async def test_a_handler_that_still_runs_ends_with_the_client() -> None:
    began, ended = asyncio.Event(), asyncio.Event()
    async with ScriptedUpstream(echo) as upstream, client_of(upstream) as client:

        @client.on("chat_receive")
        async def endless(_: Received) -> None:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        await client.ask("hi")
        await began.wait()
    assert ended.is_set()


class Caller:
    """An upstream that has the client run tools, and keeps the results."""

    def __init__(self, *calls: tuple[str, Any]) -> None:
        self._calls = calls
        self.results: list[dict[str, Any]] = []

    async def __call__(self, connection: Connection) -> None:
        await connection.greet()
        for n, (name, parameters) in enumerate(self._calls):
            call = {"tool_name": name, "parameters": parameters, "execution_id": f"exec_{n}"}
            await connection.send("tool_call", call)
        while True:
            self.results.append((await connection.receive())["payload"])


async def test_tools_that_were_named_are_run_and_others_left_alone() -> None:
    caller = Caller(
        ("add", {"a": 1, "b": 2}), ("remove", {}), ("shout", {"text": "hi"}), ("add", {"a": 1}),
    )  # fmt: skip
    async with ScriptedUpstream(caller) as upstream:
        client = client_of(upstream)

        @client.tool("add")
        def add(a: int, b: int) -> int:
            return a + b

        @client.tool("shout")
        async def shout(text: str) -> str:
            return text.upper()

        async with client:
            await until(lambda: len(caller.results) == 3)
    by_id = {one["execution_id"]: one for one in caller.results}
    assert by_id["exec_0"] == {
        "execution_id": "exec_0", "status": "completed", "result": 3, "output": "",
    }  # fmt: skip
    assert by_id["exec_2"]["output"] == "HI"
    assert by_id["exec_3"]["status"] == "failed"
    assert "missing 1 required" in by_id["exec_3"]["output"]
    assert "exec_1" not in by_id


# Figures and the log


async def test_what_passed_is_counted() -> None:
    async with ScriptedUpstream(echo) as upstream:
        client = client_of(upstream)
        assert client.metrics().uptime_s == 0
        async with client:
            await client.ask("hi")
            figures = client.metrics()
    assert (figures.messages_sent, figures.messages_received) == (1, 4)
    assert figures.bytes_sent > len("hi")
    assert figures.bytes_received > figures.bytes_sent
    assert figures.uptime_s > 0
    assert figures.messages_per_second == pytest.approx(4 / figures.uptime_s, rel=0.5)
    assert (figures.reconnects, figures.errors) == (0, 0)


async def test_reconnects_and_errors_are_counted() -> None:
    async def script(connection: Connection) -> None:
        await connection.greet()
        await connection.send("connection_error", {"error": "x", "message": "y", "code": 500})
        if len(upstream.requests) == 1:
            await connection.cut()
        await connection.until_gone()

    async with ScriptedUpstream(script) as upstream, client_of(upstream) as client:
        await until(lambda: client.metrics().errors == 2)
        assert client.metrics().reconnects == 1


async def test_the_log_has_the_newest_messages_both_ways_without_secrets() -> None:
    async with (
        ScriptedUpstream(Listener()) as upstream,
        client_of(upstream, log_messages=3) as client,
    ):
        await client.send("chat_send", {"content": "x", "password": SECRET})
        await until(lambda: client.metrics().messages_received == 2)
        await client.ask(f"the token is Bearer {SECRET * 3}")
        log = client.message_log
    assert len(log) == 3
    assert {one.direction for one in log} <= {"sent", "received"}
    assert SECRET not in str(log)
    assert json.loads(log[-1].text)["type"] == "chat_receive"
    assert MegaBotClient().message_log == []


async def test_the_log_knows_the_secrets_that_the_client_uses_whatever_they_look_like() -> None:
    opaque = "correct-horse"

    async def script(connection: Connection) -> None:
        await connection.greet()
        await connection.send("chat_receive", {"content": f"you came with {opaque}"})
        await connection.until_gone()

    async with (
        ScriptedUpstream(script) as upstream,
        client_of(upstream, log_messages=3, api_key=opaque) as client,
    ):
        await client.send("chat_send", {"content": opaque})
        await until(lambda: client.metrics().messages_received == 2)
        log = client.message_log
    assert len(log) == 3
    assert opaque not in str(log)
    assert "you came with ‹redacted" in str(log)


async def test_whoever_records_gets_each_message_exactly_as_it_travelled() -> None:
    notices = [{"id": f"n{n}", "type": "notification", "payload": {"t": n * 999}} for n in "ab"]
    batch = {"id": "b", "type": "batch", "payload": {"messages": notices}, "timestamp": 1}
    told = [gzip.compress(json.dumps(one).encode(), 1) for one in (batch, notices[0])]
    heard: list[bytes] = []
    travelled: list[tuple[str, bytes, bool]] = []

    async def script(connection: Connection) -> None:
        await connection.greet()
        heard.append(bytes(await connection.receive_text()))  # type: ignore[arg-type]
        for each in told:
            await connection.send_bytes(each)
        await connection.until_gone()

    log = MessageLog(9, lambda *one: travelled.append(one))
    async with (
        ScriptedUpstream(script) as upstream,
        client_of(
            upstream, log_messages=log, compression="gzip", signer=Signer(b"k" * 16)
        ) as client,
    ):
        await client.send("chat_send", {"content": "long " * 500})
        await until(lambda: client.metrics().messages_received == 4)
    assert travelled[1] == ("sent", heard[0], True)
    assert b"signature" in gzip.decompress(heard[0])
    assert travelled[2:] == [("received", each, True) for each in told]
    assert [json.loads(one.text)["type"] for one in client.message_log][2:] == ["notification"] * 3


# A loss that was resumed


async def test_an_answer_that_never_comes_after_a_silent_resume_is_given_up() -> None:
    async def script(connection: Connection) -> None:
        await connection.greet()
        if len(upstream.requests) == 1:
            await connection.receive()
            await connection.cut()
        await connection.until_gone()

    async with (
        ScriptedUpstream(script) as upstream,
        client_of(upstream, resume_patience_s=0.2) as client,
    ):
        with pytest.raises(ConnectionLost, match="no answer has come since"):
            await client.ask("lost on the way?")
        assert client.state == "up"


@pytest.mark.parametrize("told", [False, True], ids=["dismissed", "credential refused"])
async def test_a_question_the_upstream_hangs_up_on_is_given_up_soon(
    monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    monkeypatch.setattr(correlation, "DISMISSED_PATIENCE_S", 0.2)

    async def script(connection: Connection) -> None:
        await connection.greet()
        if len(upstream.requests) > 1:
            await asyncio.sleep(0.5)
            await connection.send("chat_receive", {"content": "after all"}, reply_to=asked[0])
            await connection.until_gone()
            return
        asked.append((await connection.receive())["id"])
        if told:
            refusal = {"error": "expired", "message": "its time is over", "code": 401}
            await connection.send("connection_error", refusal)
        await connection.close(1008, "no")

    asked: list[str] = []
    async with ScriptedUpstream(script) as upstream, client_of(upstream) as client:
        if told:
            assert (await client.ask("and?")).text == "after all"
        else:
            with pytest.raises(ConnectionLost, match="no answer has come since"):
                await client.ask("and?")


async def test_an_answer_that_goes_on_after_a_resume_is_not_given_up() -> None:
    async def script(connection: Connection) -> None:
        await connection.greet()
        if len(upstream.requests) == 1:
            question = await connection.receive()
            chunk = {"chunk": "first, ", "sequence": 1, "is_complete": False}
            await connection.send("chat_stream", chunk, reply_to=question["id"])
            asked.append(question["id"])
            await connection.cut()
        chunk = {"chunk": "second", "sequence": 2, "is_complete": False}
        await connection.send("chat_stream", chunk, reply_to=asked[0])
        await asyncio.sleep(1.0)
        chunk = {"chunk": ".", "sequence": 3, "is_complete": True}
        await connection.send("chat_stream", chunk, reply_to=asked[0])
        await connection.until_gone()

    asked: list[str] = []
    async with (
        ScriptedUpstream(script) as upstream,
        client_of(upstream, resume_patience_s=0.6) as client,
    ):
        assert (await client.ask("slowly")).text == "first, second."
