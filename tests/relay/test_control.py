"""An operator talks to the running relay; nobody else can make it do anything."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from megabot_cli.config.schema import (
    GatewaySettings,
    LimitSettings,
    ProfileSettings,
    RecordingSettings,
    RelaySettings,
    Settings,
)
from megabot_cli.errors import BadConfiguration, CouldNotConnect
from megabot_cli.gateway.server import Gateway
from megabot_cli.relay import trigger
from megabot_cli.relay.flight import ITEM_BYTES, FlightRecorder
from megabot_cli.relay.operations import Dumps
from megabot_cli.relay.reloading import Reread, reread, take_over
from megabot_cli.relay.server import Relay
from megabot_cli.storage.recordings_list import find_recording, list_recordings
from megabot_cli.storage.segment_reader import open_recording
from megabot_cli.storage.verification import verify
from tests.relay.conftest import Stage, until
from tests.support.upstream import Connection, ScriptedUpstream

ALLOWED = {"Authorization": "Bearer the-client-token", "X-Megabot-Control": "1"}


async def ask(stage: Stage, relay: Relay, what: str) -> Any:
    async with stage.http.get(f"{relay.admin_url}/relay/{what}") as response:
        assert response.status == 200
        return await response.json()


async def tell(
    stage: Stage, relay: Relay, deed: str, headers: dict[str, str] | None = None, **wishes: Any
) -> tuple[int, Any]:
    url = f"{relay.admin_url}/relay/{deed}"
    given = ALLOWED if headers is None else headers
    async with stage.http.post(url, json=wishes, headers=given) as response:
        return response.status, await response.json()


async def test_status_clients_and_sessions_tell_what_is_there(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url)
    peer, session = await stage.greeted(relay.url, client_id="ada", role="executor")
    await peer.send("chat_send", "m1", content="hello")
    await peer.message("chat_receive")
    status = await ask(stage, relay, "status")
    assert (status["clients"], status["links"], status["ready"]) == (1, {"up": 1}, True)
    assert status["messages"]["to_upstream"] == 1
    assert status["replies"]["count"] == 1
    (client,) = await ask(stage, relay, "clients")
    assert (client["name"], client["session"], client["role"]) == ("ada", session, "executor")
    assert client["messages"]["to_upstream"] == 1
    (facts,) = await ask(stage, relay, "sessions")
    assert (facts["session"], facts["state"], facts["clients"]) == (session, "up", 1)


async def test_a_fault_is_told_without_the_secret_that_it_speaks_of(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url)
    await stage.greeted(relay.url)
    relay.sessions[0].link.fault = CouldNotConnect(f"nobody takes {stage.api_key} any more")
    async with stage.http.get(f"{relay.admin_url}/readyz") as response:
        ready = await response.text()
    told = [await ask(stage, relay, what) for what in ("status", "sessions")]
    assert "nobody takes" in told[0]["fault"]
    assert "nobody takes" in told[1][0]["fault"]
    assert stage.api_key not in f"{told}{ready}"


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("mode", ["session", "shared", "dedicated"])
async def test_the_slowest_replies_are_told_with_whose_they_are(
    stage: Stage, mode: str, named: bool
) -> None:
    async def answers(connection: Connection) -> None:
        await connection.greet("sess_1")
        while True:
            message = await connection.receive()
            await asyncio.sleep(message["payload"]["after"])
            more = {"reply_to": message["id"]} if named else {}
            await connection.stream("so", "it is", **more)
            await connection.send("chat_receive", {"content": "so it is"}, **more)

    async with ScriptedUpstream(answers) as upstream:
        relay = await stage.open_relay(upstream.url, mode=mode)
        peer = await stage.connect(relay.url, query={"client_id": "ada"})
        await peer.message("connection_established")
        for message_id, after_s in (("quick", 0.0), ("slow", 0.2), ("middle", 0.1)):
            await peer.send("chat_send", message_id, after=after_s)
            await peer.message("chat_receive")
        told = (await ask(stage, relay, "status"))["slowest_replies"]
        (client,) = await ask(stage, relay, "clients")
        await relay.stop()
    assert [each["id"] for each in told] == ["slow", "middle", "quick"]
    assert 0.2 <= told[0]["took_s"] < 2
    assert 0 <= told[0]["age_s"] < 5
    assert told[0]["type"] == "chat_send"
    assert {each["client"] for each in told} == {client["name"] or client["id"]}
    assert {each["session"] for each in told} == {"sess_1"}


@pytest.mark.parametrize("mode", ["session", "dedicated"])
async def test_a_client_can_be_closed_by_its_id(stage: Stage, gateway: Gateway, mode: str) -> None:
    relay = await stage.open_relay(gateway.url, mode=mode)
    peer, _ = await stage.greeted(relay.url)
    (client,) = await ask(stage, relay, "clients")
    assert await tell(stage, relay, "close", id=client["id"], reason="enough") == (
        200,
        {"done": "close", "closed": "client"},
    )
    assert await peer.close_code() == 1001
    await until(lambda: relay.gauges().clients == 0)


async def test_a_client_a_session_and_a_link_can_be_closed_by_name(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url)
    named, session = await stage.greeted(relay.url, client_id="ada")
    other, _ = await stage.greeted(relay.url, session)
    assert (await tell(stage, relay, "close", id="ada"))[1]["closed"] == "client"
    assert await named.close_code() == 1001
    (facts,) = await ask(stage, relay, "sessions")
    assert (await tell(stage, relay, "close", id=facts["link"]))[1]["closed"] == "link"
    assert (await other.message("status_update"))["payload"]["status"] == "reconnecting"
    assert (await other.message("status_update"))["payload"]["status"] == "connected"
    assert (await tell(stage, relay, "close", id=session))[1]["closed"] == "session"
    assert await other.close_code() == 1001
    await until(lambda: not relay.gauges().sessions)
    status, body = await tell(stage, relay, "close", id="nobody")
    assert status == 404
    assert "nobody" in body["message"]


async def test_a_mark_is_in_the_recording(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url, record=True)
    assert (await tell(stage, relay, "mark", text="deployed 1.4"))[0] == 200
    await relay.stop()
    assert relay.recorder is not None
    with open_recording(relay.recorder.folder) as reader:
        assert [record.note for record in reader if record.kind == "mark"] == ["deployed 1.4"]


async def test_the_flight_recorder_is_written_as_a_recording_without_secrets(
    stage: Stage, gateway: Gateway
) -> None:
    dumps = Dumps(stage.folder / "dumps", RecordingSettings(compress="zstd"))
    relay = await stage.open_relay(gateway.url, flight_recorder_s=60.0, dumps=dumps)
    peer, _ = await stage.greeted(relay.url)
    await peer.send("chat_send", "m1", content="hi", api_key="sk-" + "abcdefgh" * 5)
    await peer.message("chat_receive")
    status, body = await tell(stage, relay, "dump", reason="a strange answer")
    assert status == 200
    assert os.listdir(body["recording"]) == ["000001.jsonl.zst"]
    found = verify(Path(body["recording"]), secrets=True)
    assert (found.clean, found.secrets_found) == (True, 0)
    with open_recording(Path(body["recording"])) as reader:
        assert reader.header is not None
        assert reader.header.upstream == gateway.url
    with open_recording(Path(body["recording"])) as reader:
        types = [record.type for record in reader]
        assert reader.header is not None
        assert reader.header.labels["flight_recorder"] == "a strange answer"
        assert reader.header.labels["dumped_at"] > reader.header.started_at
    assert "chat_send" in types
    assert "chat_receive" in types


async def test_the_last_recording_is_the_dump_that_was_made_last(
    stage: Stage, gateway: Gateway
) -> None:
    folder = stage.folder / "dumps"
    dumps = Dumps(folder, RecordingSettings())
    relay = await stage.open_relay(gateway.url, flight_recorder_s=60.0, dumps=dumps)
    peer, _ = await stage.greeted(relay.url)
    # All reach back to the same moment.
    for number in range(4):
        await peer.send("chat_send", f"m{number}", content="hi")
        await peer.message("chat_receive")
        _, body = await tell(stage, relay, "dump")
        assert find_recording(folder, "last") == Path(body["recording"])
    listed = [info.id for info in list_recordings(folder)]
    assert listed == sorted(listed, reverse=True)


@pytest.mark.parametrize(
    "condition",
    ['type == "chat_receive" && text.contains("find me")', 'text.matches("find.(me|you)")'],
    ids=["plain", "for the engine"],
)
async def test_a_record_that_is_waited_for_writes_the_flight_recorder_once(
    stage: Stage, gateway: Gateway, condition: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trigger, "AFTERMATH_S", 0.3)
    folder = stage.folder / "dumps"
    relay = await stage.open_relay(
        gateway.url,
        flight_recorder_s=60.0,
        flight_recorder_trigger=condition,
        dumps=Dumps(folder, RecordingSettings()),
    )
    assert (await ask(stage, relay, "status"))["taps"] == 0
    peer, _ = await stage.greeted(relay.url)
    for number, content in enumerate(("not yet", "find me", "and what follows", "find me too")):
        await peer.send("chat_send", f"m{number}", content=content)
        await peer.message("chat_receive")
    await until(lambda: folder.exists() and list(folder.glob("*/*.jsonl")))
    (dump,) = folder.iterdir()
    with open_recording(dump) as reader:
        ids = {record.id for record in reader}
        assert reader.header is not None
        assert reader.header.labels["flight_recorder"] == f"trigger: {condition}"
    assert {"m0", "m1", "m2"} <= ids
    facts = (await ask(stage, relay, "status"))["flight_recorder"]
    assert facts["trigger"] == condition
    assert facts["hits"] > 0


async def test_what_a_trigger_has_seen_is_written_also_when_the_relay_stops_then(
    stage: Stage, gateway: Gateway
) -> None:
    folder = stage.folder / "dumps"
    relay = await stage.open_relay(
        gateway.url,
        flight_recorder_s=60.0,
        flight_recorder_trigger='type == "chat_receive"',
        dumps=Dumps(folder, RecordingSettings()),
    )
    peer, _ = await stage.greeted(relay.url)
    await peer.send("chat_send", "m1", content="hello")
    await until(lambda: relay.trigger is not None and relay.trigger.hits)
    await relay.stop()
    (dump,) = folder.iterdir()
    assert verify(dump).clean


@pytest.mark.parametrize(
    ("kept_s", "said"),
    [
        pytest.param(0.0, "which is off", id="nothing to write"),
        pytest.param(9.0, "flight_recorder_trigger: ", id="no condition"),
    ],
)
async def test_a_trigger_of_no_use_is_told_at_the_start(
    stage: Stage, gateway: Gateway, kept_s: float, said: str
) -> None:
    with pytest.raises(BadConfiguration, match=said):
        await stage.open_relay(
            gateway.url, flight_recorder_s=kept_s, flight_recorder_trigger="type =="
        )


async def test_without_a_flight_recorder_a_dump_says_how_to_have_one(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url)
    status, body = await tell(stage, relay, "dump")
    assert status == 404
    assert "--ring" in body["hint"]


async def test_a_drain_that_was_asked_for_stops_the_relay(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url)
    peer, _ = await stage.greeted(relay.url)
    assert (await tell(stage, relay, "drain"))[0] == 200
    assert await peer.close_code() == 1012
    async with asyncio.timeout(5):
        await relay.wait_stopped()


async def test_reauth_brings_back_a_link_whose_credential_was_refused(stage: Stage) -> None:
    allowed = True

    def gate(_request: aiohttp.web.Request) -> aiohttp.web.Response | None:
        return None if allowed else aiohttp.web.json_response({"message": "no"}, status=401)

    async with ScriptedUpstream(gate=gate) as upstream:
        relay = await stage.open_relay(upstream.url)
        peer, session = await stage.greeted(relay.url)
        allowed = False
        await upstream.connections[0].cut()
        assert await peer.close_code() == 4500
        assert (await ask(stage, relay, "status"))["links"] == {"failed": 1}
        allowed = True
        assert (await tell(stage, relay, "reauth"))[1]["links"] == 1
        _, again = await stage.greeted(relay.url, session)
        assert again == session


async def test_a_reload_takes_over_what_it_can_and_names_what_waits(
    stage: Stage, gateway: Gateway
) -> None:
    origin = "http://dev.example:5173"
    settings = RelaySettings(listen="127.0.0.1:9", allowed_origins=[origin], drain_s=2.0)
    broken = False

    def read() -> Reread:
        if broken:
            raise BadConfiguration("line 3: no such setting")
        return Reread(settings, LimitSettings(messages_per_second=3), ["recording.folder"])

    relay = await stage.open_relay(gateway.url, read_settings=read)
    url = relay.url.replace("ws:", "http:")
    headers = {"Origin": origin}
    async with stage.http.get(url, headers=headers) as response:
        assert response.status == 403
    _, body = await tell(stage, relay, "reload")
    assert "relay.allowed_origins" in body["changed"]
    assert "limits.messages_per_second" in body["changed"]
    assert {"relay.listen", "recording.folder"} <= set(body["needs_restart"])
    async with stage.http.get(url, headers=headers) as response:
        assert response.status == 426
    broken = True
    status, body = await tell(stage, relay, "reload")
    assert (status, body["message"]) == (400, "line 3: no such setting")
    assert relay.settings.allowed_origins == [origin]


@pytest.mark.parametrize("mode", ["session", "shared"])
async def test_what_a_reload_reports_as_changed_holds_for_new_clients_of_old_sessions(
    stage: Stage, mode: str
) -> None:
    changed = RelaySettings(mode=mode, validation="strict", ring_messages=2)  # type: ignore[arg-type]
    limits = LimitSettings(messages_per_second=1, burst=1, max_message_bytes=2000)
    heard: list[str] = []

    async def notify(connection: Connection) -> None:
        await connection.greet()
        for number in range(3):
            heard.append((await connection.receive())["id"])
            await connection.send("notification", {"title": f"{number}"})
        await connection.until_gone()

    async with ScriptedUpstream(notify) as upstream:
        relay = await stage.open_relay(
            upstream.url, mode=mode, read_settings=lambda: Reread(changed, limits)
        )
        _, session = await stage.greeted(relay.url)
        cursor = relay.sessions[0].ring.cursor()
        _, told = await tell(stage, relay, "reload")
        assert {"relay.validation", "relay.ring_messages", "limits.burst"} <= set(told["changed"])
        late, _ = await stage.greeted(relay.url, session)
        await late.send("chat_send", "wrong", content="")
        assert (await late.message("connection_error"))["payload"]["code"] == 400
        await late.send("chat_send", "long", content="x" * 5000)
        assert (await late.message("connection_error"))["payload"]["code"] == 413
        for number in range(3):
            await late.send("note", f"m{number}", text="x")
        for _ in range(3):
            await late.message("notification")
        assert relay.numbers.rate_limit_waits == 2
        assert heard == ["m0", "m1", "m2"]
        again = await stage.connect(relay.url, session, {"cursor": cursor})
        greeting = await again.message("connection_established")
        assert greeting["metadata"]["megabot"]["reason"] == "too_old"


async def test_a_configuration_that_cannot_be_read_dials_nothing(stage: Stage) -> None:
    allowed, broken = True, True

    def gate(_: aiohttp.web.Request) -> aiohttp.web.StreamResponse | None:
        return None if allowed else aiohttp.web.json_response({"message": "no"}, status=401)

    def read() -> Reread:
        if broken:
            raise BadConfiguration("line 3: no such setting")
        return Reread(RelaySettings(), LimitSettings())

    async with ScriptedUpstream(gate=gate) as upstream:
        relay = await stage.open_relay(upstream.url, read_settings=read)
        peer, _ = await stage.greeted(relay.url)
        allowed = False
        await upstream.connections[0].cut()
        assert await peer.close_code() == 4500
        dials = relay.numbers.dials
        assert (await tell(stage, relay, "reload"))[0] == 400
        await asyncio.sleep(0.1)
        assert relay.numbers.dials == dials
        broken = False
        assert (await tell(stage, relay, "reload"))[0] == 200
        await until(lambda: relay.numbers.dials > dials)


async def test_who_is_connected_is_told_to_whoever_may_connect_and_numbers_to_all(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url, require_token=True)
    for path, without in (("relay/clients", 401), ("relay/sessions", 401), ("metrics", 200)):
        for headers, status in (({}, without), (ALLOWED, 200)):
            async with stage.http.get(f"{relay.admin_url}/{path}", headers=headers) as response:
                assert response.status == status, path


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 403, id="nothing"),
        pytest.param({"Authorization": ALLOWED["Authorization"]}, 403, id="no header"),
        pytest.param({"X-Megabot-Control": "1"}, 401, id="no token"),
        pytest.param({**ALLOWED, "Authorization": "Bearer wrong"}, 401, id="wrong token"),
        pytest.param({**ALLOWED, "Origin": "https://evil.example"}, 403, id="a foreign page"),
        pytest.param({**ALLOWED, "Host": "evil.example"}, 403, id="a rebound name"),
    ],
)
async def test_deeds_want_the_token_and_a_header_no_page_can_send(
    stage: Stage, gateway: Gateway, headers: dict[str, str], status: int
) -> None:
    relay = await stage.open_relay(gateway.url)
    for deed in ("close", "drain", "reauth", "mark", "level", "dump", "reload"):
        assert (await tell(stage, relay, deed, headers))[0] == status
    assert not relay.draining


@pytest.mark.parametrize("body", [b"no JSON", b"[1]", b'{"text": 5}', b'{"text": ""}', b"\xff"])
async def test_a_body_of_no_use_is_400(stage: Stage, gateway: Gateway, body: bytes) -> None:
    relay = await stage.open_relay(gateway.url)
    url = f"{relay.admin_url}/relay/mark"
    async with stage.http.post(url, data=body, headers=ALLOWED) as response:
        assert response.status == 400
        assert (await response.json())["message"]


async def test_the_level_can_be_changed_and_shows_each_message(
    stage: Stage, gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    relay = await stage.open_relay(gateway.url)
    peer, _ = await stage.greeted(relay.url)
    assert (await tell(stage, relay, "level", level="loud"))[0] == 400
    assert (await tell(stage, relay, "level", level="debug"))[0] == 200
    await peer.send("chat_send", "m_shown", content="x")
    await peer.message("chat_receive")
    assert (await tell(stage, relay, "level", level="info"))[0] == 200
    await peer.send("chat_send", "m_hidden", content="x")
    await peer.message("chat_receive")
    logged = capsys.readouterr().out
    assert "m_shown" in logged
    assert "m_hidden" not in logged


def test_the_flight_recorder_keeps_the_last_of_it_within_its_bounds() -> None:
    now = 0

    def clock() -> int:
        return now

    flight = FlightRecorder(10.0, 10 * (ITEM_BYTES + 100), clock=clock)
    for number in range(50):
        now = number * 10**9
        flight.put("message", data=b"x" * 100, id=str(number))
    kept = [item[7] for item in flight.snapshot()]
    assert kept == [str(number) for number in range(40, 50)]
    now = 55 * 10**9
    assert [item[7] for item in flight.snapshot()] == ["45", "46", "47", "48", "49"]
    flight.put("message", data=b"x" * 10**6)
    assert len(flight) == 0
    assert flight.bytes == 0


def test_taking_over_settings_is_told_by_name() -> None:
    old = (RelaySettings(), LimitSettings())
    new = RelaySettings(mode="shared", linger_s=9.0, heartbeat_s=9.0, tls_cert_file="new.pem")
    relay, _, changed, waits = take_over(old, Reread(new, LimitSettings()))
    assert changed == ["relay.linger_s"]
    assert waits == ["relay.mode", "relay.heartbeat_s", "relay.tls_cert_file"]
    assert (relay.mode, relay.linger_s, relay.tls_cert_file) == ("session", 9.0, None)


def test_another_certificate_is_taken_over_where_there_is_tls() -> None:
    old = (RelaySettings(tls_cert_file="old.pem"), LimitSettings())
    new = Reread(RelaySettings(tls_cert_file="new.pem", tls_key_file="key.pem"), LimitSettings())
    relay, _, changed, waits = take_over(old, new)
    assert (changed, waits) == (["relay.tls_cert_file", "relay.tls_key_file"], [])
    assert relay.tls_cert_file == "new.pem"


def test_what_a_running_relay_cannot_take_over_is_told_by_name() -> None:
    here = ProfileSettings(url="ws://127.0.0.1:1/ws")
    there = msgspec.structs.replace(here, url="ws://127.0.0.1:2/ws", platform="web")
    first = Settings(profiles={"one": here, "two": here, "other": here})
    now = Settings(
        profiles={"one": there, "other": there},
        recording=RecordingSettings(redact_keys=["iban"]),
        gateway=GatewaySettings(latency_s=1.0),
    )
    found = reread(first, now, ["one", "two"], gateway=False)
    names = ["recording.redact_keys", "profiles.one.url", "profiles.one.platform", "profiles.two"]
    assert found.waits == names
    assert reread(first, now, ["one"], gateway=True).waits[-1] == "gateway.latency_s"
    assert reread(first, first, ["one", "two"], gateway=True).waits == []
