"""A relay watched: what its tap sends and refuses, and what becomes of a watcher when it dies."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.scripts.conftest import Operator, start_gateway
from tests.scripts.test_relay_and_recordings import start_relay
from tests.support.processes import Processes, megabot


async def refused_with(tap_url: str, wanted: str) -> int:
    async with aiohttp.ClientSession() as http:
        try:
            async with http.ws_connect(tap_url, params={"wanted": wanted}):
                return 101
        except aiohttp.WSServerHandshakeError as refusal:
            return refusal.status


def test_the_relay_sends_a_watcher_only_what_it_wants(
    stranger: Operator, processes: Processes
) -> None:
    ann = Operator(stranger.home, start_gateway(processes, "--listen", ":0"))
    ann.logs_in()
    relay = start_relay(processes, ann, "--ring", "1m")
    tap_url = relay.ready()["tap_url"]
    for wrong in ("x", '{"where":"type =="}', '{"grep":"a("}', "[" * 5000):
        assert asyncio.run(refused_with(tap_url, wrong)) == 400
    command = megabot("tail", "--where", "payload.content == 'seen'", "--json")
    watching = processes.start("tail", command, env=ann.environment())
    watching.wait_for_line("watching the relay's tap")
    for word in ("unseen", "seen"):
        assert ann.types("send", word).returncode == 0
    record = watching.wait_for("the record", lambda: watching.json_lines()[-1:])[0]
    assert record["n"] == 1  # numbered by the tap: nothing else was sent
    assert json.loads(record["data"])["payload"]["content"] == "seen"
    dumped = ann.types("relay", "dump", "--type", "chat_send").stdout.strip()
    shown = ann.types("recordings", "show", dumped, "--fields", "payload.content").stdout
    assert shown.splitlines() == ["unseen", "seen"]
    assert ann.types("recordings", "verify", dumped).returncode == 0
    listed = ann.types("recordings", "list", "--json").stdout
    assert listed.count('"id"') == 2  # the relay's own, and this one
    refused = ann.types("tail", "--grep", "a(")
    assert refused.returncode == 2


def test_no_wish_of_a_watcher_keeps_messages_waiting(
    stranger: Operator, processes: Processes
) -> None:
    ann = Operator(stranger.home, start_gateway(processes, "--listen", ":0"))
    ann.logs_in()
    relay = start_relay(processes, ann, "--ring", "1m")
    tap_url = relay.ready()["tap_url"]

    async def send_while_watched() -> int:
        async with aiohttp.ClientSession() as http:
            wanted = json.dumps({"grep": "(a+)+$"})  # minutes with 40 letters
            async with http.ws_connect(tap_url, params={"wanted": wanted}):
                sent = await asyncio.to_thread(ann.types, "send", "a" * 40 + "!", limit_s=20)
                return sent.returncode

    assert asyncio.run(send_while_watched()) == 0


def test_a_session_the_relay_has_not_got_is_told_before_it_is_waited_for(
    stranger: Operator, processes: Processes
) -> None:
    ann = Operator(stranger.home, start_gateway(processes, "--listen", ":0"))
    ann.logs_in()
    start_relay(processes, ann).ready()
    session = ann.types("relay", "sessions", "--fields", "session").stdout.strip()
    watching = processes.start("tail", megabot("tail", "-s", "nope"), env=ann.environment())
    watching.wait_for_line("the relay has no session nope now; waiting for one")
    command = megabot("tail", "-s", session[-8:], "--limit", "1")
    watching = processes.start("tail", command, env=ann.environment())
    watching.wait_for_line("watching the relay's tap")
    assert ann.types("send", "hi", "-s", session).returncode == 0
    assert watching.wait() == 0
    assert not any("has no session" in line for line in watching.lines)


def test_the_sessions_of_a_dedicated_relay_s_clients_are_known_by_their_end(
    stranger: Operator, processes: Processes
) -> None:
    ann = Operator(stranger.home, start_gateway(processes, "--listen", ":0"))
    ann.logs_in()
    relay = start_relay(processes, ann, "--mode", "dedicated").ready()

    async def while_a_client_is_there() -> None:
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(relay["url"]) as socket,
        ):
            session = (await socket.receive_json())["payload"]["session_id"]
            await asyncio.to_thread(watch, session)

    def watch(session: str) -> None:
        command = megabot("tail", "-s", session[-8:], "--limit", "1")
        watching = processes.start("tail", command, env=ann.environment())
        watching.wait_for_line("watching the relay's tap")
        sent = ann.types("send", "hi", "-s", session[-8:])
        assert sent.returncode == 0, sent.stderr
        assert watching.wait() == 0
        assert not any("has no session" in line for line in watching.lines)
        missing = ann.types("send", "hi", "-s", "sess_nowhere")
        assert (missing.returncode, session in missing.stderr) == (9, True), missing.stderr

    asyncio.run(while_a_client_is_there())


def test_a_long_condition_is_watched_for_too(stranger: Operator, processes: Processes) -> None:
    ann = Operator(stranger.home, start_gateway(processes, "--listen", ":0"))
    ann.logs_in()
    start_relay(processes, ann).ready()
    condition = " || ".join(f"payload.content == 'word {number}'" for number in range(300))
    command = megabot("tail", "--where", condition, "--fields", "payload.content", "--limit", "1")
    watching = processes.start("tail", command, env=ann.environment())
    watching.wait_for_line("watching the relay's tap")
    for word in ("other", "word 299"):
        assert ann.types("send", word).returncode == 0
    assert watching.wait() == 0
    assert "word 299" in watching.lines
    assert "other" not in watching.lines


@pytest.mark.parametrize("words", [("--where", "type =="), ("--grep", "a(")])
def test_a_dump_with_wrong_words_writes_nothing(
    words: tuple[str, str], stranger: Operator, processes: Processes
) -> None:
    ann = Operator(stranger.home, start_gateway(processes, "--listen", ":0"))
    ann.logs_in()
    start_relay(processes, ann, "--no-record", "--ring", "1m").ready()
    assert ann.types("relay", "dump", *words).returncode in {2, 11}
    folder = ann.home / "recordings"
    assert not folder.exists() or not list(folder.iterdir())


def test_what_the_next_relay_records_before_it_is_watched_is_no_gap(
    stranger: Operator, processes: Processes
) -> None:
    stranger.logs_in()
    first = start_relay(processes, stranger)
    first.ready()
    watching = processes.start("tail", megabot("tail", "relay"), env=stranger.environment())
    watching.wait_for_line("watching the relay's tap")
    watching.signal(signal.SIGSTOP)  # it notices nothing until the next relay has work
    first.signal(signal.SIGKILL)
    first.wait()
    start_relay(processes, stranger).ready()
    for word in ("one", "two"):
        assert stranger.types("send", word).returncode == 0
    watching.signal(signal.SIGCONT)
    watching.wait_for_line("“two”")
    assert stranger.types("send", "three").returncode == 0
    watching.wait_for_line("“three”")
    said = [line.split()[-1] for line in watching.lines if "chat_send" in line]
    assert said == ["one", "two", "three"]
    assert "gap:" not in watching.errors


def test_one_death_of_a_relay_is_one_gap(stranger: Operator, processes: Processes) -> None:
    """Killed and not yet reaped, it looks alive for as long as nobody asks for its exit code."""
    stranger.logs_in()
    first = start_relay(processes, stranger, "--no-record")
    first.ready()
    watching = processes.start("tail", megabot("tail", "relay"), env=stranger.environment())
    watching.wait_for_line("watching the relay's tap")
    assert stranger.types("send", "before").returncode == 0
    first.signal(signal.SIGKILL)
    watching.wait_for_line("the relay went away")
    second = start_relay(processes, stranger, "--no-record")
    tap = second.ready()["tap_url"]
    watching.wait_for_line(f"watching the relay's tap, {tap}")
    assert stranger.types("send", "after").returncode == 0
    watching.wait_for_line("“after”")
    second.stop()
    watching.wait_for("the second end", lambda: watching.errors.count("went away") == 2)
    assert watching.errors.count("gap:") == 1
    greetings = [line.split()[1] for line in watching.lines if "connection_established" in line]
    assert greetings == ["⇠", "⇠"], "each send was greeted once, on the session there was"


def test_a_relay_that_hangs_is_told_and_watched_when_it_goes_on(
    stranger: Operator, processes: Processes
) -> None:
    stranger.logs_in()
    relay = start_relay(processes, stranger, "--no-record")
    tap = relay.ready()["tap_url"]
    relay.signal(signal.SIGSTOP)
    watching = processes.start("tail", megabot("tail", "relay"), env=stranger.environment())
    watching.wait_for_line("the relay does not answer; waiting for it", limit_s=20.0)
    relay.signal(signal.SIGCONT)
    watching.wait_for_line(f"watching the relay's tap, {tap}")
    assert stranger.types("send", "after").returncode == 0
    watching.wait_for_line("“after”")
    assert watching.errors.count("waiting for it") == 1


def test_events_of_the_connection_are_records_with_events_and_lines_without(
    stranger: Operator, processes: Processes, tmp_path: Path, port: int
) -> None:
    there = ("--listen", f"127.0.0.1:{port}", "--data", str(tmp_path / "data"))
    ann = Operator(stranger.home, start_gateway(processes, *there))
    gateway = processes.running[-1]
    ann.logs_in()
    line = ("tail", "upstream", "--json", "--events")
    watching = processes.start("tail", megabot(*line), env=ann.environment())
    plain = processes.start("plain", megabot(*line[:-1]), env=ann.environment())
    watching.wait_for_line("connection_established")
    plain.wait_for_line("connected, session")
    gateway.signal(signal.SIGKILL)
    gateway.wait()
    watching.wait_for_line('"close"')
    plain.wait_for_line("connection lost")
    processes.megabot("gateway", *there).ready()
    watching.wait_for_line("resumed", limit_s=20.0)
    plain.wait_for_line("connected again", limit_s=20.0)

    records = [json.loads(each) for each in watching.lines]
    events = [each for each in records if each["kind"] != "message"]
    assert [(each["kind"], each.get("code"), each.get("note")) for each in events] == [
        ("open", None, "fresh"),
        ("close", 1006, None),
        ("open", None, "resumed"),
    ]
    assert records[0] == events[0]
    assert [each["n"] for each in records] == list(range(1, len(records) + 1))
    assert {json.loads(each)["kind"] for each in plain.lines} == {"message"}
    assert "lost" not in watching.errors


def test_the_death_of_a_relay_and_what_was_missed_are_records_with_events(
    stranger: Operator, processes: Processes
) -> None:
    stranger.logs_in()
    first = start_relay(processes, stranger, "--no-record")
    first.ready()
    line = ("tail", "relay", "--events", "--json")
    watching = processes.start("tail", megabot(*line), env=stranger.environment())
    watching.wait_for_line("watching the relay's tap")
    first.signal(signal.SIGKILL)
    first.wait()
    tap = start_relay(processes, stranger, "--no-record").ready()["tap_url"]
    watching.wait_for_line(f"watching the relay's tap, {tap}")
    records = [json.loads(each) for each in watching.lines if "relay" in each or "gap" in each]
    assert [each["kind"] for each in records] == ["close", "gap", "open"]
    assert "gap:" not in watching.errors
