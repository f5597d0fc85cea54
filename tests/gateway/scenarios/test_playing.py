"""What each word of a scenario does, seen by a client on a real socket."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import aiohttp
import pytest

from tests.gateway.peer import House, replied_to
from tests.gateway.scenarios.conftest import Playing


def rules(*written: str) -> str:
    return "seed: 1\nrules:\n" + "".join(f"  - {{{rule}}}\n" for rule in written)


async def test_a_stream_has_the_pieces_and_the_whole(playing: Playing) -> None:
    house = await playing(
        rules(
            "match: {text: hi}, steps: "
            "[{stream: {text: 'Hi ${user}, no ${nth}', chunk: 5, pace_s: 0}}]"
        )
    )
    async with house.connected() as peer:
        asked = await peer.say("oh hi")
        answer = await peer.answer(asked)
        chunks = [each["payload"]["chunk"] for each in answer[:-1]]
        assert chunks == ["Hi ad", "a, no", " 1", ""]
        assert [each["payload"]["is_complete"] for each in answer[:-1]] == [
            False,
            False,
            False,
            True,
        ]
        assert answer[-1]["payload"]["content"] == "Hi ada, no 1"
        assert {replied_to(each) for each in answer} == {asked}


async def test_what_no_rule_is_for_is_answered_as_usual(playing: Playing) -> None:
    house = await playing(rules("match: {text: hi}, steps: [{reply: Hello}]"))
    async with house.connected() as peer:
        assert (await peer.answer(await peer.say("good day")))[-1]["payload"]["content"].startswith(
            "You said"
        )


async def test_a_tool_of_the_client_is_called_and_its_result_used(playing: Playing) -> None:
    house = await playing("tool-heavy")
    async with house.connected() as peer:
        asked = await peer.say("deploy it")
        first = await peer.until("tool_call")
        assert first["payload"]["tool_name"] == "run_tests"
        await peer.send(
            "tool_result",
            {
                "execution_id": first["payload"]["execution_id"],
                "status": "completed",
                "result": {"passed": 12},
            },
        )
        second = await peer.until("tool_call")
        assert second["payload"]["parameters"] == {"after": {"passed": 12}}
        await peer.send(
            "tool_result",
            {"execution_id": second["payload"]["execution_id"], "status": "failed"},
        )
        answer = (await peer.answer(asked))[-1]["payload"]["content"]
        assert answer == "Tests: completed. Deployment: failed."


async def test_a_tool_result_that_does_not_come_is_a_timeout(playing: Playing) -> None:
    house = await playing("tool-heavy")
    async with house.connected() as peer:
        answer = await peer.answer(await peer.say("have patience"))
        assert answer[-1]["payload"]["content"] == "I waited for the tool: timeout."


async def test_a_close_has_its_code(playing: Playing) -> None:
    house = await playing(rules("steps: [{close: {code: 4321, reason: enough}}]"))
    async with house.connected() as peer:
        await peer.say("hi")
        assert await peer.closed() == 4321


async def test_an_abort_is_a_tcp_reset(playing: Playing) -> None:
    house = await playing(rules("steps: [abort]"))
    reader, writer = await asyncio.open_connection(house.gateway.host, house.gateway.port)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        b"X-API-Key: " + house.key.encode() + b"\r\n\r\n"
    )
    await reader.readuntil(b"connection_established")
    text = b'{"id":"m","type":"chat_send","payload":{"content":"x"}}'
    writer.write(bytes([0x81, 0x80 | len(text)]) + bytes(4) + text)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(), 10)
    writer.close()


@pytest.mark.parametrize(
    ("step", "expected"),
    [("rate_limit", 429), ("error: 403", 403), ("error: {code: 418, error: teapot}", 418)],
)
async def test_a_message_is_refused_with_a_code(playing: Playing, step: str, expected: int) -> None:
    house = await playing(rules(f"steps: [{step if ':' not in step else '{' + step + '}'}]"))
    async with house.connected() as peer:
        asked = await peer.say("hi")
        refusal = await peer.until("connection_error", asked)
        assert refusal["payload"]["code"] == expected


@pytest.mark.parametrize("kind", ["broken_json", "wrong_types", "missing_fields", "unknown_type"])
async def test_a_malformed_message_is_none(playing: Playing, kind: str) -> None:
    from megabot_cli.protocol.validation import Message, read

    house = await playing(rules(f"steps: [{{malformed: {kind}}}, {{reply: fine}}]"))
    async with house.connected() as peer:
        await peer.say("hi")
        broken = await peer.socket.receive()
        assert broken.type is aiohttp.WSMsgType.TEXT
        known = read(broken.data.encode(), max_bytes=0)
        assert not isinstance(known, Message) or known.type == "no_such_type"
        assert (await peer.until("chat_receive"))["payload"]["content"] == "fine"


async def test_a_malformed_message_may_be_binary(playing: Playing) -> None:
    house = await playing(rules("steps: [{malformed: binary}]"))
    async with house.connected() as peer:
        await peer.say("hi")
        assert (await peer.socket.receive()).type is aiohttp.WSMsgType.BINARY


async def test_text_that_is_not_utf8_ends_a_strict_client(playing: Playing) -> None:
    house = await playing(rules("steps: [{malformed: not_utf8}]"))
    async with house.connected() as peer:
        await peer.say("hi")
        assert (await peer.socket.receive()).type is not aiohttp.WSMsgType.TEXT


async def test_messages_that_leave_are_dropped_doubled_and_swapped(playing: Playing) -> None:
    chunks = "match: {type: chat_stream"
    house = await playing(
        rules(
            f"when: sending, {chunks}, nth: 2}}, steps: [drop]",
            f"when: sending, {chunks}, nth: 2}}, steps: [duplicate]",
            f"when: sending, {chunks}, nth: 2}}, steps: [reorder]",
            "steps: [{stream: {text: abcdefgh, chunk: 1, pace_s: 0}}]",
        )
    )
    async with house.connected() as peer:
        answer = await peer.answer(await peer.say("hi"))
        # Each rule counts what those before it left: b is lost, c doubled, d overtaken by e.
        assert "".join(each["payload"].get("chunk", "") for each in answer) == "accedfgh"


async def test_what_is_held_back_leaves_though_nothing_follows(playing: Playing) -> None:
    house = await playing(
        rules("when: sending, match: {type: chat_receive}, steps: [reorder]", "steps: [{reply: a}]")
    )
    async with house.connected() as peer:
        await peer.answer(await peer.say("hi"))


async def test_delays_keep_the_order(playing: Playing) -> None:
    house = await playing(
        rules(
            "when: sending, match: {every: 2}, steps: [{delay_s: [0.0, 0.02]}]",
            "steps: [{stream: {text: abcdefgh, chunk: 1, pace_s: 0}}]",
        )
    )
    async with house.connected() as peer:
        answer = await peer.answer(await peer.say("hi"))
        assert "".join(each["payload"].get("chunk", "") for each in answer) == "abcdefgh"


async def test_messages_that_come_are_doubled_and_swapped(playing: Playing) -> None:
    house = await playing(
        rules(
            "match: {text: twice}, steps: [duplicate]",
            "match: {text: late}, steps: [reorder]",
            "match: {text: never}, steps: [drop]",
        )
    )
    async with house.connected() as peer:
        for text in ("never", "twice", "late", "last"):
            await peer.say(text)
        heard = [replied_to(await peer.until("chat_receive")) for _ in range(4)]
        assert heard == ["m2", "m2", "m4", "m3"]


async def test_a_silent_connection_stays_open_and_a_pong_still_comes(playing: Playing) -> None:
    house = await playing(rules("match: {nth: 1}, steps: [silent]"))
    async with house.connected() as peer:
        await peer.say("hi")
        await peer.say("still there?")
        await peer.socket.ping()
        with pytest.raises(TimeoutError):
            await peer.next(deadline_s=0.2)


async def test_a_ping_is_never_answered(playing: Playing) -> None:
    house = await playing(rules("when: open, steps: [never_pong]"))
    headers = {"X-API-Key": house.key}
    async with house.http.ws_connect(house.gateway.url, headers=headers, autoping=False) as socket:
        await socket.receive()
        await socket.ping(b"are you there")
        await socket.send_str('{"id":"m","type":"chat_send","payload":{"content":"hi"}}')
        kinds = set()
        last = ""
        while "chat_receive" not in last:
            frame = await socket.receive(timeout=10)
            kinds.add(frame.type)
            last = str(frame.data)
        assert kinds == {aiohttp.WSMsgType.TEXT}


async def test_the_session_changes_in_the_middle(playing: Playing) -> None:
    house = await playing(rules("match: {text: move}, steps: [new_session, {reply: '${session}'}]"))
    async with house.connected() as peer:
        await peer.say("move")
        greeting = await peer.until("connection_established")
        fresh = greeting["payload"]["session_id"]
        assert fresh != peer.session_id
        assert (await peer.until("chat_receive"))["payload"]["content"] == fresh
        answer = await peer.answer(await peer.say("as usual"))
        assert answer[-1]["metadata"]["session_id"] == fresh


async def test_a_session_is_forgotten(playing: Playing) -> None:
    house = await playing(
        rules("when: connect, match: {session: 'sess*'}, steps: [forget_session]")
    )
    async with house.connected() as peer:
        first = peer.session_id
    async with house.connected(session_id=first) as peer:
        assert peer.session_id != first


async def test_a_connection_is_closed_after_a_time(playing: Playing) -> None:
    house = await playing(rules("when: open, steps: [{delay_s: 0.1}, {close: 1001}]"))
    started = time.monotonic()
    async with house.connected() as peer:
        assert await peer.closed() == 1001
    assert time.monotonic() - started >= 0.1


async def test_a_login_is_refused_with_a_status(playing: Playing) -> None:
    house = await playing(
        rules("when: login, match: {nth: 1}, steps: [{refuse: {status: 429, retry_after_s: 3}}]")
    )
    body = {"username": "ada", "password": "lovelace"}
    async with house.http.post(house.gateway.http_url + "/api/auth/login", json=body) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "3")
    await house.login()


async def test_a_token_lasts_as_long_as_is_said(playing: Playing) -> None:
    house = await playing(rules("when: login, steps: [{token_lifetime_s: 2}]"))
    assert (await house.login())["expires_in"] == 2


async def test_a_connection_is_refused_or_redirected(playing: Playing) -> None:
    house = await playing(
        rules(
            "when: connect, match: {nth: 1}, steps: [{refuse: 503}]",
            "when: connect, match: {nth: 1}, steps: [{redirect: 'http://127.0.0.1:9/ws'}]",
        )
    )
    statuses = []
    for _ in range(2):
        async with house.http.get(
            house.gateway.http_url + "/ws", allow_redirects=False, headers=upgrade(house)
        ) as answer:
            statuses.append((answer.status, answer.headers.get("Location")))
    assert statuses == [(503, None), (307, "http://127.0.0.1:9/ws")]
    async with house.connected() as peer:
        assert peer.session_id


async def test_a_connection_is_broken_before_it_is_one(
    playing: Playing, caplog: pytest.LogCaptureFixture
) -> None:
    house = await playing(rules("when: connect, steps: [abort]"))
    with pytest.raises(aiohttp.ClientConnectionError):
        async with house.dialed():
            pytest.fail("there must be no answer")
    assert caplog.records == []


def upgrade(house: House) -> dict[str, str]:
    return {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        "X-API-Key": house.key,
    }


async def test_nothing_is_left_of_a_connection_that_goes_in_the_middle(playing: Playing) -> None:
    house = await playing(
        rules(
            "when: sending, match: {type: chat_receive}, steps: [{delay_s: 60}]",
            "when: open, steps: [{delay_s: 60}, abort]",
            "match: {text: tool}, steps: [{tool_call: {tool: t, timeout_s: 60}}]",
            "match: {text: wait}, steps: [{delay_s: 60}]",
        )
    )
    for text in ("tool", "wait", "as usual"):
        async with house.connected() as peer:
            await peer.say(text)
            if text == "tool":
                await peer.until("tool_call")
        async with asyncio.timeout(5):
            while house.gateway.connection_count:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        scripted = [t for t in asyncio.all_tasks() if t.get_name() == "gateway scenario"]
        assert scripted == []


@pytest.mark.parametrize("steps", ["[abort]", "[{delay_s: 0.05}, abort]", "[{close: 1012}]"])
async def test_what_a_cut_line_did_not_take_comes_after_the_next_connect(
    playing: Playing, steps: str
) -> None:
    house = await playing(
        rules(f"when: sending, match: {{type: chat_stream, nth: 3}}, steps: {steps}")
    )
    async with house.connected() as peer:
        await peer.say("one two three four five")
        await peer.closed()
    async with house.connected(session_id=peer.session_id) as again:
        assert again.session_id == peer.session_id
        after = await again.answer("m1")
    chunks = [each["payload"] for each in peer.received + after if each["type"] == "chat_stream"]
    assert [each["sequence"] for each in chunks] == list(range(1, len(chunks) + 1))


async def test_a_changed_file_takes_over(playing: Playing, tmp_path: Path) -> None:
    house = await playing(rules("steps: [{reply: old}]"))
    file = tmp_path / "scenario.yaml"

    async def said() -> str:
        content: str = (await peer.answer(await peer.say("hi")))[-1]["payload"]["content"]
        return content

    async with house.connected() as peer:
        assert await said() == "old"
        file.write_text(rules("match: {where: nth > 0}, steps: [{reply: newer}]"))
        async with asyncio.timeout(10):
            while await said() != "newer":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
