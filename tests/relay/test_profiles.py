"""One relay, several profiles: each client talks to the upstream of the one it names."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from structlog.testing import capture_logs

from megabot_cli.client.connection import MegaBotClient
from megabot_cli.client.credentials import Credential
from megabot_cli.client.dial import Compression
from megabot_cli.client.endpoint import parse_endpoint
from megabot_cli.client.tokens import TokenSource
from megabot_cli.commands.deadlines import deadline
from megabot_cli.commands.waiting import Waiting
from megabot_cli.config.schema import ProfileSettings, RelaySettings, Settings
from megabot_cli.errors import NotAuthenticated, TimedOut
from megabot_cli.gateway.server import Gateway
from megabot_cli.relay.identity import Served
from megabot_cli.relay.reloading import Reread, reread
from megabot_cli.relay.server import Relay
from megabot_cli.storage.recording_reader import open_recording
from megabot_cli.storage.run_files import RunningRelay
from megabot_cli.terminal.memory_console import MemoryConsole
from tests.relay.conftest import Peer, Stage, hears_nothing, until
from tests.relay.executors import MARKED, cursor_of
from tests.relay.test_control import tell
from tests.support.upstream import ScriptedUpstream

NOWHERE = "ws://127.0.0.1:9/ws"


@pytest.fixture
async def staging(stage: Stage) -> Gateway:
    """A gateway whose answers are told from the other's."""
    return await stage.open_gateway(assistant="markov")


async def open_both(stage: Stage, gateway: Gateway, staging: Gateway, **settings: object) -> Relay:
    also = [stage.served("staging", staging.url)]
    return await stage.open_relay(gateway.url, also=also, **settings)  # type: ignore[arg-type]


async def answer(peer: Peer) -> str:
    await peer.send("chat_send", "q1", content="hello")
    return str((await peer.message("chat_receive"))["payload"]["content"])


@pytest.mark.parametrize("mode", ["session", "dedicated", "shared"])
async def test_a_client_names_a_profile_by_query_or_by_path_or_gets_the_first(
    stage: Stage, gateway: Gateway, staging: Gateway, mode: str
) -> None:
    relay = await open_both(stage, gateway, staging, mode=mode)
    for url, query, is_staging in (
        (relay.url, {}, False),
        (relay.url, {"profile": "staging"}, True),
        (f"{relay.url}/staging", {}, True),
        (f"{relay.url}/test", {}, False),
    ):
        peer, _ = await stage.greeted(url, **query)
        assert ("You said" in await answer(peer)) is not is_staging
        await peer.socket.close()


@pytest.mark.parametrize("mode", ["session", "dedicated"])
@pytest.mark.parametrize(
    ("compression", "offers"), [("deflate", True), ("gzip", True), ("none", False)]
)
async def test_the_relay_offers_its_upstream_what_the_profile_says(
    stage: Stage, mode: str, compression: Compression, offers: bool
) -> None:
    async with ScriptedUpstream() as upstream:
        other = stage.served("other", upstream.url)
        profile = msgspec.structs.replace(other.profile, compression=compression)
        other = dataclasses.replace(other, profile=profile)
        relay = await stage.open_relay(upstream.url, also=[other], mode=mode)
        await stage.greeted(relay.url, "sess_other", profile="other")
        dial = next(each for each in upstream.requests if "sess_other" in each.query_string)
        assert ("Sec-WebSocket-Extensions" in dial.headers) is offers
        assert "compression" not in dial.query  # it reads what comes


async def test_who_waits_in_vain_for_an_upstream_hears_of_the_fault_of_that_profile(
    stage: Stage, gateway: Gateway
) -> None:
    others = {"staging": "127.0.0.1:9", "spare": "127.0.0.1:7"}
    also = [stage.served(name, f"ws://{host}/ws") for name, host in others.items()]
    relay = await stage.open_relay(gateway.url, also=also)
    up, *away = await asyncio.gather(*(told_in_vain(relay, name) for name in ("test", *others)))
    assert "away" not in up
    for told, host in zip(away, others.values(), strict=True):
        assert "its upstream is away" in told
        assert [each for each in others.values() if each in told] == [host]


async def told_in_vain(relay: Relay, profile: str) -> str:
    """The error of a command that gets no answer in time."""
    running = RunningRelay(
        pid=os.getpid(),
        profile=profile,
        url=relay.url_for(profile),
        tap_url="",
        admin_url=relay.admin_url or "",
        upstream="",
        token_file="",
        started_at=0.0,
    )
    waiting = Waiting(MemoryConsole(), "the relay", 0.5, running)

    async def wait() -> None:
        async with deadline(0.5, waiting), MegaBotClient(running.url):
            waiting.connected()
            await asyncio.Event().wait()

    with pytest.raises(TimedOut) as gave_up:
        await wait()
    return gave_up.value.message


async def test_behind_a_unix_socket_each_profile_has_an_address_of_its_own(
    stage: Stage, gateway: Gateway, staging: Gateway, tmp_path: Path
) -> None:
    relay = await open_both(stage, gateway, staging, listen=f"unix:{tmp_path / 'relay.sock'}")
    for profile, is_staging in (("test", False), ("staging", True)):
        async with MegaBotClient(relay.url_for(profile)) as client:
            answered = await client.ask("hello")
        assert ("You said" in answered.text) is not is_staging


async def test_a_session_belongs_to_its_profile_also_where_both_have_one_of_that_name(
    stage: Stage, gateway: Gateway, staging: Gateway
) -> None:
    relay = await open_both(stage, gateway, staging)
    _, name = await stage.greeted(relay.url)
    await stage.greeted(f"{relay.url}/staging", name)
    assert len([each for each in relay.main.sessions if name in each.names]) == 1
    assert len([each for each in relay.identities["staging"].sessions if name in each.names]) == 1


async def test_what_is_closed_is_that_of_the_profile_that_was_named(
    stage: Stage, gateway: Gateway, staging: Gateway
) -> None:
    relay = await open_both(stage, gateway, staging)
    peer, session = await stage.greeted(relay.url)
    other, _ = await stage.greeted(f"{relay.url}/staging", session)
    status, told = await tell(stage, relay, "close", id=session)
    assert status == 400
    assert told["message"] == f"There is a {session!r} in several profiles: test, staging"
    assert (await tell(stage, relay, "close", id=session, profile="staging"))[0] == 200
    assert await other.close_code() == 1001
    assert await hears_nothing(peer)
    assert (await tell(stage, relay, "close", id=session, profile="staging"))[0] == 404
    for deed in ("close", "reauth"):
        status, told = await tell(stage, relay, deed, id=session, profile="production")
        assert (status, told["hint"]) == (404, "It serves test, staging.")
    assert (await tell(stage, relay, "close", id=session))[0] == 200
    assert await peer.close_code() == 1001


@pytest.mark.parametrize("mode", ["session", "dedicated", "shared"])
async def test_a_line_for_each_message_says_whose_it_is(
    stage: Stage, gateway: Gateway, staging: Gateway, mode: str
) -> None:
    relay = await open_both(stage, gateway, staging, mode=mode)
    relay.main.parts.witness.show_messages(True)
    with capture_logs() as logs:
        for url in (relay.url, f"{relay.url}/staging"):
            peer, _ = await stage.greeted(url)
            await answer(peer)
    sent = [each for each in logs if each.get("type") == "chat_send"]
    assert [each["profile"] for each in sent] == ["test", "staging"]
    passed = [each for each in logs if each["event"] == "message.passed"]
    assert {each["profile"] for each in passed} == {"test", "staging"}


async def test_a_credential_is_read_anew_for_the_profile_that_was_named(
    stage: Stage, gateway: Gateway, staging: Gateway
) -> None:
    relay = await open_both(stage, gateway, staging)
    before = {name: each.parts.tokens for name, each in relay.identities.items()}
    assert (await tell(stage, relay, "reauth", profile="staging"))[0] == 200
    renewed = {name for name, each in relay.identities.items() if each.parts.tokens != before[name]}
    assert renewed == {"staging"}
    await tell(stage, relay, "reauth")
    assert relay.main.parts.tokens != before["test"]


async def test_a_profile_that_is_not_served_is_refused_with_those_that_are(
    stage: Stage, gateway: Gateway, staging: Gateway
) -> None:
    relay = await open_both(stage, gateway, staging)
    for url in (f"{relay.url}/production", f"{relay.url}?profile=production"):
        async with stage.http.get(url.replace("ws:", "http:")) as refused:
            assert refused.status == 404
            body = await refused.json()
        assert body["error"] == "unknown_profile"
        assert "it serves test, staging" in body["message"]
    async with stage.http.get(f"{relay.url}/stagign".replace("ws:", "http:")) as refused:
        assert "; did you mean 'staging'?" in (await refused.json())["message"]


async def test_one_upstream_that_is_away_leaves_the_other_served(
    stage: Stage, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("megabot_cli.relay.session.GREETING_S", 0.1)
    relay = await stage.open_relay(gateway.url, also=[stage.served("away", NOWHERE)])
    peer, _ = await stage.greeted(relay.url)
    await answer(peer)
    waiting = await stage.connect(f"{relay.url}/away")
    refused = await waiting.message("connection_error", limit_s=8)
    assert refused["payload"]["code"] == 503


async def test_readiness_and_status_say_which_profile_is_not_served(
    stage: Stage, gateway: Gateway, staging: Gateway
) -> None:
    wrong = stage.served("staging", staging.url, secret="mb_wrong")
    relay = await stage.open_relay(gateway.url, also=[wrong])
    async with stage.http.get(f"{relay.admin_url}/readyz") as response:
        assert response.status == 200
        told = (await response.json())["profiles"]
    assert told["test"] == {"links": {"up": 1}, "fault": None}
    assert told["staging"]["links"] == {"failed": 1}
    assert "no longer accepts this API key" in told["staging"]["fault"]
    async with stage.http.get(f"{relay.admin_url}/relay/status") as response:
        status = (await response.json())["profiles"]
    assert {name: each["links"] for name, each in status.items()} == {
        "test": {"up": 1},
        "staging": {"failed": 1},
    }


async def test_one_refused_credential_leaves_the_other_served(
    stage: Stage, gateway: Gateway, staging: Gateway
) -> None:
    wrong = stage.served("staging", staging.url, secret="mb_wrong")
    relay = await stage.open_relay(gateway.url, also=[wrong])
    peer, _ = await stage.greeted(relay.url)
    await answer(peer)
    unlucky = await stage.connect(f"{relay.url}/staging")
    assert await unlucky.close_code() == 4500


async def test_where_every_credential_is_refused_it_does_not_start(
    stage: Stage, gateway: Gateway, staging: Gateway
) -> None:
    wrong = stage.served("staging", staging.url, secret="mb_wrong")
    with pytest.raises(NotAuthenticated):
        await stage.open_relay(gateway.url, secret="mb_wrong", also=[wrong])


async def test_the_operator_sees_which_profile_is_whose(
    stage: Stage, gateway: Gateway, staging: Gateway
) -> None:
    relay = await open_both(stage, gateway, staging)
    await stage.greeted(f"{relay.url}/staging")

    async def shown(what: str) -> Any:
        async with stage.http.get(f"{relay.admin_url}/relay/{what}") as response:
            return await response.json()

    (client,) = await shown("clients")
    assert client["profile"] == "staging"
    sessions = await shown("sessions")
    assert {each["profile"] for each in sessions} == {"test", "staging"}
    status = await shown("status")
    assert {name: each["upstream"] for name, each in status["profiles"].items()} == {
        "test": relay.main.origin,
        "staging": relay.identities["staging"].origin,
    }


async def test_a_recording_tells_which_link_is_of_which_profile(
    stage: Stage, gateway: Gateway, staging: Gateway
) -> None:
    relay = await open_both(stage, gateway, staging, record=True)
    peer, _ = await stage.greeted(f"{relay.url}/staging")
    await answer(peer)
    (session,) = [s for s in relay.identities["staging"].sessions if s.clients]
    await relay.stop()
    assert relay.recorder is not None
    with open_recording(relay.recorder.folder) as reader:
        opened = {
            each.link: each.note for each in reader if each.kind == "open" and not each.client
        }
    assert opened[session.link.id] == "fresh, staging"
    assert sorted(note or "" for note in opened.values()) == ["fresh, staging", "fresh, test"]


async def test_stopping_ends_the_clients_of_all(
    stage: Stage, gateway: Gateway, staging: Gateway
) -> None:
    relay = await open_both(stage, gateway, staging)
    one, _ = await stage.greeted(relay.url)
    other, _ = await stage.greeted(f"{relay.url}/staging")
    _, *codes = await asyncio.gather(relay.drain(), one.close_code(), other.close_code())
    assert codes == [1012, 1012]
    await until(lambda: gateway.connection_count == staging.connection_count == 0)


async def test_a_pair_of_another_profile_keeps_the_limit_of_all(
    stage: Stage, gateway: Gateway, staging: Gateway
) -> None:
    relay = await open_both(stage, gateway, staging, mode="dedicated", max_clients=1)
    await stage.greeted(relay.url)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await stage.connect(f"{relay.url}/staging")
    assert refused.value.status == 503


async def metrics(stage: Stage, relay: Relay) -> list[str]:
    async with stage.http.get(f"{relay.admin_url}/metrics") as response:
        return (await response.text()).splitlines()


async def test_metrics_tell_the_links_of_one_profile_from_those_of_the_other(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url, also=[stage.served("away", NOWHERE)])
    await stage.greeted(relay.url)
    await stage.greeted(relay.url)
    await until(lambda: relay.gauges().profiles["away"].links.get("backing_off"))
    lines = await metrics(stage, relay)
    assert 'megabot_relay_links{profile="test",state="up"} 2.0' in lines
    assert 'megabot_relay_links{profile="away",state="up"} 0.0' in lines
    assert 'megabot_relay_links{profile="away",state="backing_off"} 1.0' in lines


@pytest.mark.parametrize("mode", ["session", "shared"])
async def test_neither_hears_what_is_said_on_the_other(
    stage: Stage, gateway: Gateway, staging: Gateway, mode: str
) -> None:
    relay = await open_both(stage, gateway, staging, mode=mode)
    one, name = await stage.greeted(relay.url)
    other, _ = await stage.greeted(f"{relay.url}/staging", name)
    await answer(one)
    assert await hears_nothing(other, 0.05)
    await answer(other)
    assert await hears_nothing(one, 0.05)


async def test_a_cursor_and_a_name_of_one_profile_are_strangers_to_the_other(
    stage: Stage, gateway: Gateway, staging: Gateway
) -> None:
    relay = await open_both(stage, gateway, staging)
    first = await stage.connect(relay.url, "s1", {"client_id": "ada"}, protocols=MARKED)
    cursor = await cursor_of(first)
    other = await stage.connect(
        f"{relay.url}/staging", "s1", {"client_id": "ada", "cursor": cursor}
    )
    greeting = await other.message("connection_established")
    assert greeting["metadata"]["megabot"]["reason"] == "other_epoch"
    assert await answer(first)  # it was not replaced


async def test_a_reload_says_what_of_one_profile_waits_and_ends_no_session(
    stage: Stage, gateway: Gateway, staging: Gateway
) -> None:
    def settings(**of_staging: Any) -> Settings:
        other = ProfileSettings(url=staging.url, **of_staging)
        return Settings(profiles={"test": ProfileSettings(url=gateway.url), "staging": other})

    def read() -> Reread:
        changed = settings(platform="another")
        changed = msgspec.structs.replace(changed, relay=RelaySettings(validation="strict"))
        return reread(settings(), changed, ("test", "staging"), gateway=False)

    relay = await open_both(stage, gateway, staging, read_settings=read)
    one, _ = await stage.greeted(relay.url)
    other, _ = await stage.greeted(f"{relay.url}/staging")
    _, body = await tell(stage, relay, "reload")
    assert "profiles.staging.platform" in body["needs_restart"]
    assert not any("profiles.test" in each for each in body["needs_restart"])
    for peer in (one, other):
        await answer(peer)
        await peer.send("chat_send", "bad", content="")
        assert (await peer.message("connection_error"))["payload"]["code"] == 400


async def test_a_credential_that_is_good_again_brings_one_profile_up_and_leaves_the_other_be(
    stage: Stage, gateway: Gateway, staging: Gateway
) -> None:
    secret = "mb_wrong"

    def open_tokens(http: aiohttp.ClientSession) -> TokenSource:
        endpoint = parse_endpoint(staging.url)
        credential = Credential(kind="api_key", secret=secret, origin=endpoint.origin)
        return TokenSource(http, endpoint, credential=credential)

    wrong = Served("staging", ProfileSettings(url=staging.url), open_tokens)
    relay = await stage.open_relay(gateway.url, also=[wrong])
    one, _ = await stage.greeted(relay.url)
    unlucky = await stage.connect(f"{relay.url}/staging")
    assert await unlucky.close_code() == 4500
    link = next(session.link.id for session in relay.main.sessions if session.clients)
    secret = stage.api_key
    await tell(stage, relay, "reauth")
    other, _ = await stage.greeted(f"{relay.url}/staging")
    for peer in (one, other):
        await answer(peer)
    assert link in {session.link.id for session in relay.main.sessions}
    assert not relay.numbers.link_losses


async def test_the_log_says_of_which_profile_a_session_has_ended(
    stage: Stage, gateway: Gateway, staging: Gateway
) -> None:
    relay = await open_both(stage, gateway, staging)
    with capture_logs() as logs:
        for url in (f"{relay.url}/staging", relay.url):
            _, name = await stage.greeted(url)
            await tell(stage, relay, "close", id=name)
        await until(lambda: len([e for e in logs if e["event"] == "session.ended"]) == 2)
    ended = [each["profile"] for each in logs if each["event"] == "session.ended"]
    assert ended == ["staging", "test"]
