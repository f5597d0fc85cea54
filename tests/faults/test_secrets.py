"""A canary in every place where secrets travel: it is found in nothing that the relay writes."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest
from aiohttp import web

from tests.faults.rig import Rig
from tests.faults.test_credential_faults import part
from tests.faults.upstreams import Lasting
from tests.relay.conftest import until
from tests.support.upstream import Connection

CANARY = "c4n4ry7Q9zL2mX8vB3nT"
JWT = f"{part({'alg': 'HS256'})}.{part({'sub': 'ada', 'exp': 9999999999})}.{CANARY}"


def envelopes() -> list[dict[str, Any]]:
    """Messages with secrets where people put them."""
    return [
        {"id": "m1", "type": "chat_send", "payload": {"content": "x", "api_key": CANARY}},
        {"id": "m2", "type": "chat_send", "payload": {"content": f"Authorization: Bearer {JWT}"}},
        {"id": "m3", "type": "chat_send", "payload": {"content": f"wss://h/ws?token={CANARY}"}},
        {"id": "m4", "type": "chat_send", "payload": {"content": "x", "o": {"password": CANARY}}},
        {"id": "m5", "type": "tool_call", "payload": {"tool_name": "http", "execution_id": "e",
         "parameters": {"headers": {"Cookie": f"session={CANARY}", "X-API-Key": CANARY}}}},
        {"id": "m6", "type": "notification", "payload": {"client_secret": CANARY},
         "metadata": {"access_token": CANARY}},
    ]  # fmt: skip


def pieces(text: str) -> list[str]:
    """Words and, of a long one, parts: the canary stands in a part of its own."""
    before, canary, after = text.partition(CANARY)
    return [*before.replace(" ", " \n").split("\n"), canary, after] if canary else [text]


async def everything_it_said(rig: Rig) -> dict[str, str]:
    """All that an operator, a scraper or a log collector can see of it."""
    said = {"stdout": rig.relay.output, "stderr": rig.relay.errors}
    async with rig.http.get(f"{rig.admin}/metrics") as answer:
        said["metrics"] = await answer.text()
    for command in ("status", "clients", "sessions", "dump"):
        done = await asyncio.to_thread(rig.processes.run, "relay", command, "--json")
        assert done.end() == 0, done.said()
        said[command] = done.output + done.errors
    said["ps"] = rig.command_line()
    return said


@pytest.mark.parametrize("send_in", ["header", "query"])
async def test_no_secret_is_in_log_recording_tap_metrics_or_control_output(
    rig: Rig, send_in: str
) -> None:
    upstream = Lasting()

    async def in_pieces(connection: Connection, message: dict[str, Any]) -> None:
        """Says it again as a stream that is cut in the middle of the secret, then whole."""
        if message["type"] == "chat_send":
            text = message["payload"]["content"]
            said = pieces(text)
            for number, piece in enumerate(said, 1):
                chunk = {"stream_id": message["id"], "sequence": number, "chunk": piece}
                chunk["is_complete"] = number == len(said)
                await connection.send("chat_stream", chunk, reply_to=message["id"])
            await connection.send("chat_receive", {"content": text}, reply_to=message["id"])

    upstream.heard = in_pieces  # type: ignore[method-assign]

    def issue(body: dict[str, Any]) -> web.Response:
        return web.json_response({"token": JWT, "refresh_token": f"refresh-{CANARY}"})

    refusing = False

    def gate(request: web.Request) -> web.StreamResponse | None:
        if not refusing:
            return None
        text = f"no: {request.headers.get('Authorization')} {request.query_string}"
        return web.json_response({"error": "x", "message": f"bad token {JWT}; {text}"}, status=500)

    server = await rig.upstream(upstream, on_login=issue, gate=gate)
    login = await asyncio.to_thread(
        rig.processes.run,
        *("login", "--url", server.url, "--username", "ada", "--password-stdin"),
        *("--storage", "file", "--debug"),
        typed=f"password-{CANARY}",
    )
    assert login.end() == 0, login.errors
    assert CANARY not in login.output + login.errors
    await rig.open_relay(
        server.url,
        *("--debug", "--debug-bodies", "--ring", "5m"),
        key=None,
        record=True,
        profiles={"default": {"url": server.url, "auth": {"send_in": send_in}}},
    )
    tail = rig.processes.megabot("tail", "--json", "--follow")
    await rig.metric_reaches("taps", 1)
    client = await rig.client(client_id=f"Bearer {JWT}", token=JWT, cursor=f"{CANARY}:x")
    for message in envelopes():
        await client.send(json.dumps(message | {"timestamp": 0}))
    await client.until(lambda: len(client.of_type("chat_receive")) >= 4)
    assert upstream.connection is not None
    for message in envelopes():
        await upstream.connection.send_text(json.dumps(message | {"timestamp": 0}))
    await client.until(lambda: client.of_type("tool_call"))
    refusing = True
    await upstream.connection.close(1011, f"Authorization: Bearer {JWT}")
    await rig.logged("link.dial_failed")
    async with rig.http.get(
        rig.url.replace("ws", "http", 1) + f"?token={CANARY}",
        headers={"Authorization": f"Bearer {JWT}", "Host": "evil.example"},
    ) as refused:
        assert CANARY not in await refused.text()
    await rig.metric_reaches("recorder_records_total", 20)
    said = await everything_it_said(rig)
    assert "message.passed" in said["stderr"]
    assert '"body"' in said["stderr"]
    await client.leave()
    tail.kill()
    said["tail"] = tail.output + tail.errors
    assert "chat_send" in said["tail"]
    stored = {
        str(path): path.read_bytes().decode("utf-8", "replace")
        for path in rig.processes.home.rglob("*")
        if path.is_file() and "credentials" not in path.parts
    }
    assert any(path.endswith((".jsonl", ".jsonl.part")) for path in stored)
    found = {
        name: text[max(0, text.index(CANARY) - 200) : text.index(CANARY) + 30]
        for name, text in (said | stored).items()
        if CANARY in text
    }
    assert not found, found


class Telltale(Lasting):
    """An upstream that says what it was shown, in every way it has; it looks like no secret."""

    async def tell(self, secret: str) -> None:  # type: ignore[override]
        assert self.connection is not None
        send = self.connection.send
        await send("notification", {"text": f"you came with {secret} today"})
        await send("notification", {secret: 1})
        await self.connection.send_bytes(gzip.compress(f'{{"said": "{secret}"}}'.encode()))
        await send("connection_error", {"code": 500, "message": f"what is {secret}?"})
        middle = len(secret) - 3
        await self.connection.stream("It is ", secret[:middle], f"{secret[middle:]}, I think")


async def test_what_the_relay_itself_shows_upstream_is_kept_nowhere_also_when_it_is_renewed(
    rig: Rig,
) -> None:
    upstream = Telltale()
    tokens = ("gQ7-first-zK2m", "Lw9-second-Vb4x")
    lifetimes = iter((6, 3600))

    def issue(body: dict[str, Any]) -> web.Response:
        token = tokens["refresh_token" in body]
        answer = {"token": token, "refresh_token": f"{token}/again", "expires_in": next(lifetimes)}
        return web.json_response(answer)

    server = await rig.upstream(upstream, on_login=issue, on_refresh=issue)
    login = await asyncio.to_thread(
        rig.processes.run,
        *("login", "--url", server.url, "--username", "ada", "--password-stdin"),
        *("--storage", "file"),
        typed="a password",
    )
    assert login.end() == 0, login.errors
    await rig.open_relay(
        server.url, *("--debug", "--debug-bodies", "--ring", "5m"), key=None, record=True
    )
    tail = rig.processes.megabot("tail", "--json", "--follow")
    await rig.metric_reaches("taps", 1)
    client = await rig.client()
    await upstream.tell(tokens[0])
    await until(lambda: server.refreshes, 10.0)
    first = upstream.connection
    assert first is not None
    await first.close(1011, f"renewed: {tokens[0]}")
    await until(lambda: upstream.connection is not first)
    assert upstream.connection is not None
    assert upstream.connection.headers["Authorization"] == f"Bearer {tokens[1]}"
    for secret in (tokens[1], f"{tokens[1]}/again", tokens[0]):
        await upstream.tell(secret)
    await client.until(lambda: len(client.of_type("connection_error")) == 4)
    last = upstream.connection
    await last.close(1011, f"at last: {tokens[1]}")
    await until(lambda: upstream.connection is not last)
    said = await everything_it_said(rig)
    await client.leave()
    tail.kill()
    said["tail"] = tail.output + tail.errors
    stored = {
        str(path): path.read_bytes().decode("utf-8", "replace")
        for path in rig.processes.home.rglob("*")
        if path.is_file() and "credentials" not in path.parts
    }
    for secret in (tokens[0][:9], tokens[1][:9]):
        found = {name: text for name, text in (said | stored).items() if secret in text}
        assert not found, (secret, list(found))
