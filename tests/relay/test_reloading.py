"""What a reload takes over, and what waits for a restart."""

from __future__ import annotations

import asyncio

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
from megabot_cli.errors import BadConfiguration
from megabot_cli.gateway.server import Gateway
from megabot_cli.relay.reloading import Reread, reread, take_over
from tests.relay.conftest import Stage, until
from tests.relay.test_control import tell
from tests.support.upstream import Connection, ScriptedUpstream


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


def test_another_profile_and_one_that_had_no_settings_before_wait_for_a_restart() -> None:
    first = Settings()
    now = Settings(profile="staging", profiles={"default": ProfileSettings(url="ws://x/ws")})
    found = reread(first, now, ["default"], gateway=False)
    assert found.waits == ["profile", "profiles.default.url"]
