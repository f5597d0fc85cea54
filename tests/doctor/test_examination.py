"""An examination as a whole: what stands on what, against upstreams of every kind."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from megabot_cli.client.credentials import Credential
from megabot_cli.config.load import Flag, load
from megabot_cli.doctor.case import Case
from megabot_cli.doctor.examination import CHECKS
from megabot_cli.doctor.findings import counts, first_failure
from megabot_cli.errors import BadConfiguration
from tests.doctor.cases import case_at, findings_of, verdicts, with_credential
from tests.support.upstream import Connection, Gone, ScriptedUpstream, greet_and_wait

UPSTREAM_CHECKS = [check.name for check in CHECKS if check.needs]


async def answer_everything(connection: Connection) -> None:
    """An upstream that does all it may do."""
    await connection.greet(capabilities=["chat", "batch"])
    with contextlib.suppress(Gone):
        while True:
            received = await connection.receive_text()
            if isinstance(received, bytes):
                return  # gzip: it hangs up at what it does not know
            message = json.loads(received)
            inner = message["payload"].get("messages", [message])
            for each in inner:
                result = {"execution_id": each["payload"]["execution_id"], "status": "failed"}
                await connection.send("tool_result", result, reply_to=each["id"])


async def test_an_upstream_that_does_all_passes_in_the_order_of_the_layers(tmp_path: Path) -> None:
    async with ScriptedUpstream(answer_everything, compress=True) as upstream:
        findings = await findings_of(case_at(tmp_path, upstream.url))
    assert list(findings) == [check.name for check in CHECKS]
    assert counts(findings.values()) == {"ok": 17, "warn": 0, "fail": 0, "skipped": 0}
    assert findings["compression"].facts == {"deflate": True, "gzip": False}
    assert findings["metadata"].facts == {"reply_to": True, "echoes_other_metadata": False}
    assert all(finding.took_s is not None for finding in findings.values())


async def test_nothing_but_calls_of_a_tool_that_is_not_there_is_said(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []

    async def listen(connection: Connection) -> None:
        await connection.greet()
        with contextlib.suppress(Gone):
            while True:
                received = await connection.receive_text()
                if isinstance(received, str):
                    heard.append(json.loads(received))

    async with ScriptedUpstream(listen) as upstream:
        await findings_of(case_at(tmp_path, upstream.url))
    calls = [each for message in heard for each in message["payload"].get("messages", [message])]
    assert {each["payload"]["tool_name"] for each in calls} == {"megabot_doctor_probe"}
    assert {each["type"] for each in heard} == {"tool_call", "batch"}


async def test_what_an_upstream_cannot_do_is_a_warning_with_what_follows(tmp_path: Path) -> None:
    async def silent(connection: Connection) -> None:
        await connection.greet(session_id=connection.upstream.new_session_id())
        await connection.until_gone()

    async with ScriptedUpstream(silent) as upstream:
        findings = await findings_of(case_at(tmp_path, upstream.url))
    warned = {name for name, finding in findings.items() if finding.verdict == "warn"}
    assert warned == {"metadata", "batch", "compression", "resume"}
    assert "relay.batching" in str(findings["batch"].fix)
    assert findings["resume"].facts == {"resumed": False}
    assert first_failure(findings.values()) is None


async def test_answers_that_name_nothing_are_told(tmp_path: Path) -> None:
    async def refuse(connection: Connection) -> None:
        await connection.greet()
        with contextlib.suppress(Gone):
            while True:
                await connection.receive_text()
                await connection.send("connection_error", {"error": "unknown", "code": 400})

    async with ScriptedUpstream(refuse) as upstream:
        findings = await findings_of(case_at(tmp_path, upstream.url))
    assert findings["metadata"].facts["reply_to"] is False
    assert "refuses a batch" in findings["batch"].message


async def test_an_upstream_that_hangs_up_at_a_question_is_dialled_anew_for_the_next(
    tmp_path: Path,
) -> None:
    async def hang_up(connection: Connection) -> None:
        await connection.greet()
        await connection.receive_text()
        await connection.close(1011)

    async with ScriptedUpstream(hang_up) as upstream:
        findings = await findings_of(case_at(tmp_path, upstream.url))
    assert (findings["metadata"].verdict, findings["metadata"].exit) == ("fail", 8)
    assert "close code 1011" in findings["metadata"].message
    assert findings["batch"].exit == 8
    assert findings["resume"].verdict == "ok"


async def test_with_the_upstream_down_the_rest_is_still_told(tmp_path: Path) -> None:
    async with ScriptedUpstream(greet_and_wait) as upstream:
        url = upstream.url
    findings = await findings_of(case_at(tmp_path, url))
    told = verdicts(findings)
    assert told["tcp"] == "fail"
    assert [told[name] for name in ("permissions", "disk", "name", "login")] == ["ok"] * 4
    assert findings["socket"].message == findings["tls"].message == "tcp failed"
    assert findings["resume"].verdict == "skipped"
    failed = first_failure(findings.values())
    assert failed is not None
    assert (failed.check, failed.exit) == ("tcp", 7)
    address = url.removeprefix("ws://").removesuffix("/ws")
    assert f"`megabot gateway --listen {address}` starts one here" in str(failed.fix)
    encrypted = await findings_of(case_at(tmp_path, url.replace("ws:", "wss:")))
    assert "megabot gateway" not in str(encrypted["tcp"].fix)


async def test_a_name_that_nobody_knows_stops_there(tmp_path: Path) -> None:
    too_long = "a" * 64  # for a label of a name: nobody needs to be asked
    findings = await findings_of(case_at(tmp_path, f"wss://{too_long}.example/ws"))
    assert (findings["name"].verdict, findings["name"].exit) == ("fail", 7)
    assert findings["tcp"].message == "name failed"


async def test_without_a_credential_nothing_is_dialled(tmp_path: Path) -> None:
    async with ScriptedUpstream(greet_and_wait) as upstream:
        case = case_at(tmp_path, upstream.url, token=None)
        findings = await findings_of(case)
        assert upstream.requests == []
        assert case.upstream is not None
        typed = load(flags={"profiles.*.url": Flag("--url", upstream.url)})
        there = dataclasses.replace(case.upstream, configuration=typed)
        by_flag = await findings_of(dataclasses.replace(case, upstream=there))
    assert (findings["login"].exit, findings["login"].fix) == (4, "`megabot login`")
    assert by_flag["login"].fix == f"`megabot login --url {upstream.url}`"
    assert findings["socket"].message == "login failed"


async def test_a_credential_that_has_ended_is_told(tmp_path: Path) -> None:
    async with ScriptedUpstream(greet_and_wait) as upstream:
        case = case_at(tmp_path, upstream.url)
        ended = Credential("jwt", "t", upstream.origin, expires_at=time.time() - 600)
        findings = await findings_of(with_credential(case, ended))
    assert findings["login"].exit == 4
    assert "ended 10 minutes ago" in findings["login"].message
    assert findings["login"].fix == "`megabot login` gets a new one."


async def test_a_credential_of_a_variable_that_ended_long_ago_is_told_in_days_with_its_variable(
    tmp_path: Path,
) -> None:
    async with ScriptedUpstream(greet_and_wait) as upstream:
        case = case_at(tmp_path, upstream.url)
        ended = Credential("jwt", "t", upstream.origin, expires_at=time.time() - 30 * 86400)
        held = with_credential(case, ended)
        assert held.upstream is not None
        there = dataclasses.replace(held.upstream, stored_at=lambda: "environment")
        findings = await findings_of(dataclasses.replace(held, upstream=there))
    assert "ended 30 days ago" in findings["login"].message
    assert "MEGABOT_TOKEN" in str(findings["login"].fix)
    assert "unset it" in str(findings["login"].fix)


async def test_a_credential_that_is_refused_is_told_by_the_socket(tmp_path: Path) -> None:
    def refuse(_: web.Request) -> web.Response:
        return web.json_response({"error": "unauthorized", "message": "no token-1"}, status=401)

    async with ScriptedUpstream(greet_and_wait, gate=refuse) as upstream:
        findings = await findings_of(case_at(tmp_path, upstream.url))
    assert (findings["login"].verdict, findings["socket"].exit) == ("ok", 4)
    assert "token-1" not in findings["socket"].message
    assert "flat dialect" in str(findings["socket"].fix)


async def test_the_other_dialect_is_recognized(tmp_path: Path) -> None:
    async def speak_flat(connection: Connection) -> None:
        await connection.send_text('{"type":"message","content":"Hello","sender":"MegaBot"}')
        await connection.until_gone()

    async with ScriptedUpstream(speak_flat) as upstream:
        wrong = await findings_of(case_at(tmp_path, upstream.url))
        right = await findings_of(case_at(tmp_path, upstream.url, dialect="flat"))
    assert wrong["socket"].fix == "Set the profile's dialect: flat"
    assert wrong["socket"].exit == 6
    assert right["dialect"].facts == {"dialect": "flat"}
    assert right["resume"].verdict == "skipped"


async def test_no_pong_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def deaf(connection: Connection) -> None:
        connection.socket._autoping = False
        await connection.greet()
        await connection.until_gone()

    monkeypatch.setattr("megabot_cli.doctor.upstream.PING_LIMIT_S", 0.1)
    async with ScriptedUpstream(deaf) as upstream:
        findings = await findings_of(case_at(tmp_path, upstream.url))
    assert (findings["ping"].verdict, findings["ping"].exit) == ("fail", 8)


async def test_a_clock_that_differs_is_told(tmp_path: Path) -> None:
    async def say_when(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readline():
            answer = "HTTP/1.1 204 No Content\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\n"
            writer.write(answer.encode())
        writer.close()

    async with await asyncio.start_server(say_when, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        findings = await findings_of(case_at(tmp_path, f"ws://127.0.0.1:{port}/ws"))
    assert findings["clock"].verdict == "warn"
    assert findings["clock"].facts["skew_s"] > 1e6
    assert "ahead of the upstream's" in findings["clock"].message
    assert findings["socket"].exit == 6


async def test_broken_settings_leave_what_needs_none(tmp_path: Path) -> None:
    whole = case_at(tmp_path, "ws://127.0.0.1:9/ws")
    problems = (BadConfiguration("config.yaml:1: x", "Mend it."), BadConfiguration("y"))
    findings = await findings_of(Case("0", folders=whole.folders, problems=problems))
    assert findings["configuration"].exit == 12
    assert "and 1 more" in findings["configuration"].message
    assert len(findings["configuration"].facts["problems"]) == 2
    assert {findings[name].verdict for name in UPSTREAM_CHECKS} == {"skipped"}
    assert findings["disk"].verdict == "ok"


async def test_without_any_folder_the_examination_still_ends(tmp_path: Path) -> None:
    findings = await findings_of(Case("0", problems=(BadConfiguration("There is no home"),)))
    assert set(verdicts(findings).values()) <= {"fail", "skipped", "ok"}
    assert first_failure(findings.values()) == findings["configuration"]


async def test_a_check_that_breaks_is_a_failure_and_the_others_are_made(tmp_path: Path) -> None:
    def break_down() -> bool:
        raise ValueError("ws://x/ws?token=secret")

    async with ScriptedUpstream(greet_and_wait) as upstream:
        case = case_at(tmp_path, upstream.url)
        assert case.upstream is not None
        broken = dataclasses.replace(case.upstream, trust=break_down)
        findings = await findings_of(dataclasses.replace(case, upstream=broken))
    assert (findings["tls"].message, findings["tls"].exit) == (
        "this check itself broke (ValueError)", 1,
    )  # fmt: skip
    assert findings["clock"].verdict == "ok"
    assert len(findings) == len(CHECKS)
