"""A relay with its recording: share, watch, verify, replay."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.scripts.conftest import PASSWORD, Operator, start_gateway
from tests.support.processes import Process, Processes, megabot, running_processes, wait_until


@dataclass
class Running:
    """A relay of ann's, and the facts of its ready line."""

    operator: Operator
    process: Process
    facts: dict[str, str]


@pytest.fixture(scope="module")
def relay(
    gateway: str, home_of_ann: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    operator = Operator(home_of_ann, gateway)
    with running_processes(tmp_path_factory.mktemp("relay")) as processes:
        process = start_relay(processes, operator)
        yield Running(operator, process, process.ready())


def start_relay(processes: Processes, operator: Operator, *more: str) -> Process:
    command = megabot("relay", "--listen", ":0", "--admin-listen", ":0", "--rate-limit", "0", *more)
    return processes.start("relay", command, env=operator.environment(), typed="")


def test_send_goes_through_the_relay_that_runs(relay: Running) -> None:
    done = relay.operator.types("send", "hi", "-v")
    assert f"through the relay {relay.facts['url']}" in done.stderr
    assert done.stdout.startswith("You said “hi”")
    direct = relay.operator.types("send", "hi", "-v", "--direct")
    assert f"straight to {relay.operator.url}" in direct.stderr


def test_a_relay_that_serves_another_upstream_is_named_with_what_to_type(
    relay: Running, processes: Processes
) -> None:
    there = relay.operator.url
    foreign = start_gateway(processes, "--listen", ":0")
    for url, code in ((foreign, 4), ("ws://127.0.0.1:9/ws", 7)):
        done = relay.operator.types("send", "hi", env={"MEGABOT_URL": url})
        assert done.returncode == code
        assert done.stderr.endswith(f" The relay that runs is for --url {there}.\n")
        direct = relay.operator.types("send", "hi", "--direct", env={"MEGABOT_URL": url})
        assert (direct.returncode, "relay" in direct.stderr) == (code, False)
    beside = there.replace("/ws", "/elsewhere")  # of which that gateway knows nothing
    assert "'/elsewhere'" in relay.operator.types("send", "hi", "--url", beside).stderr
    typed = relay.operator.types("send", "hi", "-v", "--url", there, env={"MEGABOT_URL": foreign})
    assert f"through the relay {relay.facts['url']}" in typed.stderr


def test_a_relay_that_cannot_start_leaves_no_recording_behind(stranger: Operator) -> None:
    listen = ("--listen", ":0", "--admin-listen", ":0")
    refused = stranger.types("relay", *listen, env={"MEGABOT_API_KEY": "mbk_wrong"})
    assert refused.returncode == 4
    nonsense = stranger.types("relay", *listen, "--upstream", "nope")
    assert nonsense.returncode in {2, 12}
    folder = stranger.home / "recordings"
    assert not folder.exists() or not list(folder.iterdir())


def test_a_program_on_the_relay_needs_no_credential(relay: Running, stranger: Operator) -> None:
    done = stranger.types("send", "hi", "--url", relay.facts["url"])
    assert done.stdout.startswith("You said “hi”")


def test_tail_watches_the_tap_with_its_filters(relay: Running, processes: Processes) -> None:
    command = megabot("tail", "--type", "chat_*", "--direction", "to_upstream", "--json")
    watching = processes.start("tail", command, env=relay.operator.environment())
    watching.wait_for_line("watching the relay's tap")
    relay.operator.types("send", "watched")
    record = watching.wait_for("the record", lambda: watching.json_lines()[-1:])[0]
    assert (record["type"], record["direction"]) == ("chat_send", "to_upstream")
    assert json.loads(record["data"])["payload"]["content"] == "watched"
    watching.signal(signal.SIGTERM)
    assert watching.wait() == 143


def test_tail_shows_a_growing_answer_as_one_text(relay: Running, processes: Processes) -> None:
    command = megabot("tail", "--assemble", "--type", "chat_*", "--grep", ".")
    watching = processes.start("tail", command, env=relay.operator.environment())
    watching.wait_for_line("watching the relay's tap")
    relay.operator.types("send", "assembled")
    watching.wait_for_line("You said “assembled” to me, which is one word and 9 characters.")
    assert watching.output.count("You said “assembled”") == 1


def test_tail_begins_with_the_last_of_the_recording(relay: Running) -> None:
    relay.operator.types("send", "historic")

    def shown() -> list[str]:
        done = relay.operator.types("tail", "-n", "1", "--no-follow", "--type", "chat_receive")
        return [line for line in done.stdout.splitlines() if "historic" in line]

    assert len(wait_until(shown, "the recording has it")) == 1


def test_grep_finds_messages_in_all_recordings_or_says_that_there_are_none(
    relay: Running,
) -> None:
    relay.operator.types("send", "a needle in the hay")
    types = relay.operator.types

    def found() -> list[str]:
        done = types("rec", "grep", "need.e", "--direction", "to_upstream", "--json")
        return done.stdout.splitlines()

    lines = wait_until(found, "the recording has it")
    assert [json.loads(line)["type"] for line in lines] == ["chat_send"]
    assert types("rec", "grep", "need.e", "--type", "chat_send", "--count").stdout.endswith("1\n")
    nothing = types("rec", "grep", "", "last", "--where", "payload.content == 'x'", "--names")
    assert (nothing.returncode, nothing.stdout) == (9, "")
    assert "Nothing was found" in nothing.stderr
    swapped = types("rec", "grep", "last", "--type", "chat_send")
    assert swapped.returncode == 9
    assert "'last' was the pattern" in swapped.stderr
    assert types("rec", "grep", "a(").returncode == 2


def test_tail_ends_with_its_limit(relay: Running, processes: Processes) -> None:
    command = megabot("tail", "--type", "chat_send", "--limit", "2", "--json")
    watching = processes.start("tail", command, env=relay.operator.environment())
    watching.wait_for_line("watching the relay's tap")
    for text in ("one", "two", "three"):
        relay.operator.types("send", text)
    assert watching.wait() == 0
    assert [record["type"] for record in watching.json_lines()] == ["chat_send", "chat_send"]


def test_the_ready_file_is_there_while_the_relay_is(
    relay: Running, processes: Processes, tmp_path: Path
) -> None:
    ready = tmp_path / "ready.json"
    relay_of_ann = relay.operator
    other = start_relay(
        processes, relay_of_ann, "--no-record", "--ready-file", str(ready), "-p", "other",
        "--upstream", relay.facts["url"],
    )  # fmt: skip
    facts = other.ready()
    assert json.loads(ready.read_text()) == facts
    assert facts["recording"] is None
    other.signal(signal.SIGINT)
    assert other.wait() == 0
    assert not ready.exists()


def test_one_command_runs_everything_on_a_bare_machine(
    processes: Processes, stranger: Operator
) -> None:
    stranger = Operator(stranger.home, "")
    arguments = ("relay", "--gateway", "--listen", ":0", "--admin-listen", ":0")
    environ = stranger.environment({"MEGABOT_GATEWAY_LISTEN": "127.0.0.1:0"})
    both = processes.start("relay", megabot(*arguments), env=environ, typed="")
    url = both.ready()["url"]
    assert ":3100/" not in url
    assert stranger.types("send", "hi", "--url", url).stdout.startswith("You said “hi”")
    assert both.stop() == 0
    assert not (stranger.home / "credentials").exists()


def test_a_second_signal_stops_the_relay_at_once(processes: Processes, stranger: Operator) -> None:
    """The first would wait for the answer of an upstream that is slow to give one."""
    arguments = ("relay", "--gateway", "--listen", ":0", "--admin-listen", ":0")
    slow = {"MEGABOT_GATEWAY_LISTEN": "127.0.0.1:0", "MEGABOT_GATEWAY_LATENCY_S": "60"}
    environ = stranger.environment(slow) | {"MEGABOT_URL": ""}
    relay = processes.start("relay", megabot(*arguments), env=environ, typed="")
    command = megabot("send", "hi", "-v", "--url", relay.ready()["url"])
    waiting = processes.start("send", command, env=stranger.environment())
    waiting.wait_for("the connection", lambda: "session" in waiting.errors)
    relay.signal(signal.SIGTERM)
    relay.wait_for_line("relay.draining")
    relay.signal(signal.SIGTERM)
    assert relay.wait(limit_s=8.0) == 0


def test_a_relay_without_a_credential_says_how_to_get_one(stranger: Operator) -> None:
    done = stranger.types("relay", "--listen", ":0", "--admin-listen", ":0")
    assert done.returncode == 4
    assert "megabot login" in done.stderr


def test_a_taken_port_is_told(relay: Running) -> None:
    address = relay.facts["url"].removeprefix("ws://").removesuffix("/ws")
    done = relay.operator.types("relay", "--listen", address, "--admin-listen", ":0")
    assert done.returncode == 12
    assert "cannot listen" in done.stderr


@pytest.fixture(scope="module")
def recorded(gateway: str, home_of_ann: Path, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """Somebody with one sealed recording of two questions."""
    folder = tmp_path_factory.mktemp("recorded")
    operator = Operator(home_of_ann, gateway)
    with running_processes(folder) as processes:
        process = start_relay(processes, operator, "--record", str(folder / "recordings"))
        url = process.ready()["url"]
        stranger = Operator(folder, gateway)
        for words in ("one", "my token is eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.abcdefghijkl"):
            assert stranger.types("send", words, "--url", url).returncode == 0
        assert process.stop() == 0
    (folder / "config.yaml").write_text(f"recording:\n  folder: {folder / 'recordings'}\n")
    (folder / "credentials").symlink_to(home_of_ann / "credentials")
    return Operator(folder, gateway)


def test_recordings_are_listed(recorded: Operator) -> None:
    (info,) = json.loads(recorded.types("recordings", "list", "--json").stdout)
    assert (info["clean"], info["live"]) == (True, False)
    assert recorded.types("rec", "list", "--fields", "id").stdout == f"{info['id']}\n"
    shown = recorded.types("rec", "list").stdout
    heading, row = shown.splitlines()
    assert heading.split()[:3] == ["recording", "started", "state"]  # seen on any terminal
    assert row.split()[0] == info["id"]
    assert row.split()[3] == "clean"


def test_what_lies_elsewhere_is_listed_where_it_is_named(
    recorded: Operator, tmp_path: Path
) -> None:
    (info,) = json.loads(recorded.types("recordings", "list", "--json").stdout)
    folder = Path(info["path"]).parent
    stranger = Operator(tmp_path, recorded.url)
    assert "There are no recordings" in stranger.types("rec", "list").stderr
    refused = stranger.types("rec", "list", "--fields", "pth")
    assert (refused.returncode, "Did you mean path?" in refused.stderr) == (2, True)
    for place in (folder, info["path"]):
        done = stranger.types("rec", "list", str(place), "--json")
        assert json.loads(done.stdout) == [info]
    shown = stranger.types("rec", "list", str(folder)).stdout.splitlines()[1].split()[0]
    assert shown == info["path"]  # what `recordings show` takes there
    nothing = stranger.types("rec", "list", str(tmp_path))
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert nothing.stderr == f"There are no recordings in {tmp_path}.\n"


def test_places_that_cannot_be_listed_are_told_after_those_that_can(
    recorded: Operator, tmp_path: Path
) -> None:
    (info,) = json.loads(recorded.types("recordings", "list", "--json").stdout)
    text = tmp_path / "notes.txt"
    text.write_text("no recording\n")
    os.mkfifo(tmp_path / "pipe")
    done = recorded.types("rec", "list", "nowhere", str(text), "last", info["id"], "--json")
    assert json.loads(done.stdout) == [info]  # once
    assert done.returncode == 9
    assert "There is no recording nowhere" in done.stderr
    assert "notes.txt: The first line is not the header" in done.stderr
    done = recorded.types("rec", "list", "two words", "nowhere")
    assert (done.returncode, done.stdout) == (9, "")
    assert "quotes" not in done.stderr
    assert recorded.types("rec", "list", str(tmp_path / "pipe")).returncode == 11


def test_a_recording_is_shown_in_every_form(recorded: Operator) -> None:
    lines = recorded.types("rec", "show", "last", "--type", "chat_send").stdout.splitlines()
    assert lines[0].endswith("  one")
    assert "eyJhbGci" not in "".join(lines)
    raw = recorded.types("rec", "show", "last", "-o", "raw", "--type", "chat_send").stdout
    assert json.loads(raw.splitlines()[0])["payload"]["content"] == "one"
    records = recorded.types("rec", "show", "last", "--json", "--events").stdout.splitlines()
    assert [json.loads(line)["n"] for line in records] == list(range(1, len(records) + 1))


def test_a_recording_is_read_from_stdin(recorded: Operator) -> None:
    done = recorded.shell(
        "cat $MEGABOT_HOME/recordings/*/000001.jsonl | megabot rec verify - --json"
    )
    assert json.loads(done.stdout)["clean"] is True


def test_a_clean_recording_without_secrets_verifies(recorded: Operator) -> None:
    done = recorded.types("recordings", "verify", "last", "--no-secrets")
    assert done.returncode == 0, done.stderr
    assert ": clean\n" in done.stdout


def test_13_when_a_recording_is_torn(recorded: Operator, tmp_path: Path) -> None:
    (segment,) = (recorded.home / "recordings").rglob("000001.jsonl")
    torn = tmp_path / "torn.jsonl"
    torn.write_bytes(segment.read_bytes()[:-400])
    done = recorded.types("recordings", "verify", str(torn), "--json")
    assert done.returncode == 13
    assert json.loads(done.stdout)["clean"] is False


def test_13_when_a_recording_holds_a_secret(recorded: Operator, tmp_path: Path) -> None:
    (segment,) = (recorded.home / "recordings").rglob("000001.jsonl")
    told = tmp_path / "told.jsonl"
    told.write_text(
        segment.read_text().replace('\\"one\\"', '\\"Bearer abcdefghijklmnopqrst\\"', 1)
    )
    done = recorded.types("recordings", "verify", str(told), "--no-secrets", "--json")
    assert done.returncode == 13
    assert json.loads(done.stdout)["secrets_found"] >= 1


def test_a_replay_gives_the_same_answers(recorded: Operator) -> None:
    done = recorded.types("replay", "last", "--pace", "fast", "--expect", "exact", "--json",
                          "--limit", "1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["sent"], report["same"], report["passed"]) == (1, 1, True)


def test_a_dry_run_of_a_replay_reaches_nobody(recorded: Operator) -> None:
    done = recorded.types("replay", "last", "--dry-run", "--url", "ws://127.0.0.1:9/ws", "--json")
    plan = json.loads(done.stdout)
    assert (plan["messages"], plan["to"]) == (2, "ws://127.0.0.1:9/ws")
    assert done.returncode == 0


def test_13_when_a_replay_differs(recorded: Operator, tmp_path: Path) -> None:
    (segment,) = (recorded.home / "recordings").rglob("000001.jsonl")
    changed = tmp_path / "changed.jsonl"
    changed.write_text(segment.read_text().replace("“one”", "“two”"))
    done = recorded.types("replay", str(changed), "--pace", "fast", "--expect", "exact",
                          "--limit", "1")  # fmt: skip
    assert done.returncode == 13, done.stderr
    assert "Other than recorded: 1 answer" in done.stderr
    assert "different" in done.stdout


def test_one_relay_serves_two_profiles(
    gateway: str, home_of_ann: Path, processes: Processes, tmp_path: Path
) -> None:
    ann = Operator(home_of_ann, gateway)
    shouting = start_gateway(processes, "--listen", ":0", "--assistant", "command:tr a-z A-Z")
    login = ("-p", "loud", "login", "--url", shouting, "--username", "ann", "--password-stdin")
    done = ann.types(*login, "--storage", "file", typed=PASSWORD, env={"MEGABOT_URL": ""})
    assert done.returncode == 0, done.stderr
    relay = start_relay(processes, ann, "--also", "loud").ready()
    assert relay["profiles"]["loud"]["url"] == f"{relay['url']}?profile=loud"
    assert relay["profiles"]["loud"]["upstream_state"] == "up"
    here = {"MEGABOT_URL": ""}
    assert ann.types("-p", "loud", "-v", "send", "hello", env=here).stdout == "HELLO\n"
    assert "through the relay" in ann.types("-p", "loud", "-v", "send", "hi", env=here).stderr
    assert ann.types("send", "hello").stdout.startswith("You said")
    listed = json.loads(ann.types("relay", "sessions", "--json").stdout)
    assert {each["profile"] for each in listed} == {"default", "loud"}
    assert " loud " in ann.types("relay", "sessions").stdout
    # One of another profile is no answer to a name that this one's upstream does not know.
    theirs = {each["session"] for each in listed if each["profile"] == "default"}
    lost = ann.types("-p", "loud", "send", "hi", "--session", "sess_none", env=here).stderr
    assert "The relay has sess_" in lost
    assert not any(session in lost for session in theirs)
    unknown = ann.types("relay", "--listen", ":0", "--also", "lout")
    assert unknown.returncode == 9
    assert "Did you mean 'loud'?" in unknown.stderr


def test_behind_a_unix_socket_a_command_reaches_the_upstream_of_its_profile(
    stranger: Operator, processes: Processes, tmp_path: Path
) -> None:
    here = {"MEGABOT_URL": ""}
    for name, assistant in (("plain", "echo"), ("loud", "command:tr a-z A-Z")):
        at = start_gateway(processes, "--listen", ":0", "--assistant", assistant)
        login = ("-p", name, "login", "--url", at, "--username", "ann", "--password-stdin")
        done = stranger.types(*login, "--storage", "file", typed=PASSWORD, env=here)
        assert done.returncode == 0, done.stderr
    socket = f"unix:{tmp_path / 'relay.sock'}"
    command = megabot("relay", "-p", "plain", "--also", "loud", "--listen", socket)
    command += ["--admin-listen", ":0", "--no-record"]
    ready = processes.start("relay", command, env=stranger.environment(here), typed="").ready()
    assert ready["profiles"]["loud"]["url"] == f"{socket}?profile=loud"
    for more in ((), ("--json",), ("--idle-timeout", "9s")):  # each way to send
        loud = stranger.types("-p", "loud", "-v", "send", "hello", *more, env=here)
        assert "through the relay" in loud.stderr
        assert "HELLO" in loud.stdout
        plain = stranger.types("-p", "plain", "send", "hello", *more, env=here)
        assert "You said" in plain.stdout


def test_a_replay_whose_connection_is_lost_says_how_far_it_came(
    stranger: Operator, processes: Processes, tmp_path: Path
) -> None:
    scenario = tmp_path / "ends.yaml"
    scenario.write_text(
        "description: Ends a session in its second answer.\n"
        "rules:\n"
        "  - match: {type: chat_send, text: second}\n"
        "    steps: [{close: {code: 4508, reason: over}}]\n"
    )
    url = start_gateway(processes, "--listen", ":0", "--scenario", str(scenario))
    ann = Operator(stranger.home, url)
    ann.logs_in()
    said = [
        {
            "id": f"m{n}",
            "type": "chat_send",
            "payload": {"content": text},
            "timestamp": 1640995200 + n,
        }
        for n, text in enumerate(("first", "second", "third"))
    ]
    bare = tmp_path / "said.jsonl"
    bare.write_text("".join(json.dumps(each) + "\n" for each in said))
    done = ann.types(
        "replay", str(bare), "--expect", "none", "--max-gap", "200ms", "--settle", "5s"
    )
    assert done.returncode == 8, done.stderr
    assert "the connection was lost; this is how far it came" in done.stderr
    assert done.stdout.startswith("sent       2 messages as 1 client")


@pytest.mark.parametrize("chosen", [("--type", "nothing_such"), ("--from", "n=1000000")])
def test_a_replay_of_nothing_is_not_one_that_went_well(
    recorded: Operator, chosen: tuple[str, ...]
) -> None:
    done = recorded.types("replay", "last", *chosen)
    assert (done.returncode, done.stdout) == (9, "")
    assert "no message to send in what was chosen" in done.stderr
    assert "Choose less narrowly" in done.stderr
