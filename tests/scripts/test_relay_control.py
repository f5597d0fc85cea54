"""`megabot relay status|clients|…` against a relay that runs, and signals."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scripts.conftest import Operator
from tests.scripts.test_relay_and_recordings import Running, start_relay
from tests.scripts.test_terminal import echoes, ended, on_a_terminal
from tests.support.certificates import end_of, make_aged_certificate, make_certificate
from tests.support.processes import Processes, megabot, running_processes, wait_until


@pytest.fixture(scope="module")
def relay(
    gateway: str, home_of_ann: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    operator = Operator(home_of_ann, gateway)
    with running_processes(tmp_path_factory.mktemp("relay")) as processes:
        process = start_relay(processes, operator, "--ring", "5m")
        yield Running(operator, process, process.ready())


def test_status_for_people_and_for_scripts(relay: Running) -> None:
    shown = relay.operator.types("relay", "status")
    assert shown.returncode == 0
    assert "ready, session mode" in shown.stdout
    assert f"{relay.facts['admin_url']}/metrics" in shown.stdout
    ready = relay.operator.types("relay", "status", "--fields", "ready,links.up")
    assert ready.stdout == "true\t1\n"
    facts = json.loads(relay.operator.types("relay", "status", "--json").stdout)
    assert (facts["links"], facts["profile"]) == ({"up": 1}, "default")


def test_global_options_may_stand_before_the_name(relay: Running) -> None:
    done = relay.operator.types("relay", "--json", "-p", "default", "sessions")
    assert [each["state"] for each in json.loads(done.stdout)] == ["up"]


def test_on_a_terminal_a_long_fault_gives_way_before_what_waits_is_left_out(
    stranger: Operator, processes: Processes
) -> None:
    relay = start_relay(processes, stranger, "--no-record", "--url", "ws://127.0.0.1:9/ws")
    relay.ready()
    with on_a_terminal(stranger, "relay", "sessions") as child:
        shown, code = ended(child)
    headings = shown.splitlines()[0]
    assert (code, "fault" in headings, "waiting" in headings) == (0, True, True), shown


def test_clients_are_listed_while_they_are_there(relay: Running) -> None:
    assert relay.operator.types("relay", "clients", "--json").stdout.strip() == "[]"
    assert "no clients" in relay.operator.types("relay", "clients").stderr


def test_a_mark_a_level_and_a_dump(relay: Running) -> None:
    assert relay.operator.types("relay", "mark", "  deployed ").returncode == 0
    empty = relay.operator.types("relay", "mark", " ")
    assert (empty.returncode, "TEXT is empty" in empty.stderr) == (2, True)
    assert "warning" in relay.operator.types("relay", "level", "warning").stderr
    assert relay.operator.types("relay", "level", "loud").returncode == 2
    dumped = relay.operator.types("relay", "dump", "--reason", "why not")
    assert dumped.returncode == 0
    shown = relay.operator.types("recordings", "verify", dumped.stdout.strip())
    assert shown.returncode == 0, shown.stderr


def test_a_dump_of_what_was_chosen_is_found_by_the_name_it_is_listed_with(relay: Running) -> None:
    relay.operator.types("relay", "mark", "chosen")
    dumped = relay.operator.types("relay", "dump", "--where", "kind == 'mark' && note == 'chosen'")
    listed = relay.operator.types("recordings", "list", "--fields", "id,path").stdout
    (name,) = (
        name for name, path in map(str.split, listed.splitlines()) if path == dumped.stdout.strip()
    )
    shown = relay.operator.types("recordings", "show", name, "--events", "--fields", "note")
    assert shown.stdout == "chosen\n"
    header = json.loads((Path(dumped.stdout.strip()) / "000001.jsonl").read_text().split("\n")[0])
    assert header["previous"] is None  # the whole dump, which is gone
    assert "made_from" not in header["labels"]
    empty = relay.operator.types("relay", "dump", "--type", "no_such")
    assert empty.returncode == 0
    assert "nothing was wanted" in empty.stderr


def test_closing_what_is_not_there_says_how_to_find_it(relay: Running) -> None:
    done = relay.operator.types("relay", "close", "nobody")
    assert done.returncode == 9
    assert "relay clients" in done.stderr


@pytest.mark.parametrize("name", ["", " "])
def test_closing_nothing_is_wrong_usage(relay: Running, name: str) -> None:
    done = relay.operator.types("relay", "close", name)
    assert done.returncode == 2
    assert "ID is empty" in done.stderr
    assert "relay clients" in done.stderr


def test_top_in_a_pipe_is_plain_text_and_ends(relay: Running) -> None:
    shown = relay.operator.types("relay", "top", "-n", "2", "--every", "100ms")
    assert shown.returncode == 0
    assert shown.stdout.count("messages/s") == 2
    assert "\x1b" not in shown.stdout
    lines = relay.operator.types("relay", "top", "-n", "2", "--every", "100ms", "--jsonl").stdout
    assert all(json.loads(line)["ready"] for line in lines.splitlines())


@pytest.mark.parametrize("wrong", [("-n", "-1"), ("--every", "0")])
def test_top_takes_no_looks_that_are_none(relay: Running, wrong: tuple[str, ...]) -> None:
    done = relay.operator.types("relay", "top", *wrong)
    assert (done.returncode, done.stdout) == (2, "")
    assert wrong[0] in done.stderr


def test_top_keeps_to_the_terminals_size_and_q_ends_it(relay: Running) -> None:
    top = ("relay", "top", "--every", "100ms")
    with on_a_terminal(relay.operator, *top, LINES="", PYTHONUTF8="1") as child:
        child.expect("messages/s")
        child.setwinsize(5, 34)
        frame = r"\x1b\[H\x1b\[J([^\x1b]*)(?=\x1b)"
        for _ in range(30):  # those that were drawn before
            child.expect(frame)
            lines = str(child.match[1]).replace("\r", "").split("\n")
            if len(lines) <= 5 and all(len(line) <= 34 for line in lines):
                break
        assert len(lines) == 5, lines
        assert max(len(line) for line in lines) == 34
        child.send("q")
        shown, code = ended(child)
        assert code == 0
        assert shown.endswith("\x1b[?25h\x1b[?1049l")
        assert echoes(child)


def test_top_hears_the_keyboard_while_the_relay_hangs(
    gateway: str, home_of_ann: Path, processes: Processes
) -> None:
    operator = Operator(home_of_ann, gateway)
    hanging = start_relay(processes, operator, "--no-record")
    hanging.ready()
    top = ("relay", "top", "--every", "100ms")
    with contextlib.ExitStack() as stack:
        # They hang beside each other: for what each is to show it takes seconds.
        children = {
            pressed: stack.enter_context(on_a_terminal(operator, *top, LINES=""))
            for pressed in (("q", 0), ("\x04", 0), ("\x03", 130))
        }
        for child in children.values():
            child.expect("messages/s")
        os.kill(hanging.pid, signal.SIGSTOP)
        for (key, code), child in children.items():
            child.expect("no answer from the relay for 2 s", timeout=9)
            pressed_at = time.monotonic()
            child.send(key)
            _, ended_with = ended(child)
            assert (ended_with, time.monotonic() - pressed_at < 4) == (code, True), key
            assert echoes(child)


def test_without_a_relay_it_says_so(stranger: Operator) -> None:
    done = stranger.types("relay", "status")
    assert done.returncode == 9
    assert "No relay runs" in done.stderr


def test_hup_reloads_and_usr1_dumps_away_from_a_terminal(
    gateway: str, home_of_ann: Path, processes: Processes
) -> None:
    operator = Operator(home_of_ann, gateway)
    process = start_relay(processes, operator, "-p", "default", "--ring", "1m")
    process.ready()
    process.signal(signal.SIGHUP)
    wait_until(lambda: "relay.reloaded" in "\n".join(process.error_lines), "the reload")
    process.signal(signal.SIGUSR1)
    wait_until(lambda: "flight_recorder.written" in "\n".join(process.error_lines), "the dump")
    process.signal(signal.SIGTERM)
    assert process.wait() in (0, 143)


def test_hup_and_usr1_are_heeded_by_a_relay_that_is_still_dialling(
    stranger: Operator, processes: Processes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}/ws"
        process = start_relay(processes, stranger, "--no-record", "--ring", "1m", "--url", url)
        dialled, _ = silent.accept()
        process.signal(signal.SIGHUP)
        process.signal(signal.SIGUSR1)
        silent.close()
        dialled.close()
        process.ready()
        process.wait_for_line("relay.reloaded")
        process.wait_for_line("flight_recorder.written")
        process.signal(signal.SIGTERM)
        assert process.wait() == 0


def test_status_tells_until_when_the_certificate_holds_that_hup_has_read(
    ann: Operator, processes: Processes, tmp_path: Path
) -> None:
    shown = make_aged_certificate(tmp_path, "127.0.0.1", age_days=80, left_days=10)
    files = {
        "MEGABOT_RELAY_TLS_CERT_FILE": str(shown.cert_file),
        "MEGABOT_RELAY_TLS_KEY_FILE": str(shown.key_file),
    }
    command = megabot("relay", "--listen", ":0", "--admin-listen", ":0", "--no-record")
    relay = processes.start("relay", command, env=ann.environment() | files, typed="")
    relay.ready()
    assert until_when(ann) == local_day(end_of(shown))
    renewed = make_certificate(tmp_path, "127.0.0.1")
    shown.cert_file.write_bytes(renewed.cert_file.read_bytes())
    shown.key_file.write_bytes(renewed.key_file.read_bytes())
    relay.signal(signal.SIGHUP)
    wait_until(lambda: "relay.reloaded" in "\n".join(relay.error_lines), "the reload")
    assert until_when(ann) == local_day(end_of(renewed))


def until_when(operator: Operator) -> str | None:
    """The day that `relay status` tells for its certificate."""
    told = re.search(r"^certificate +until (\S+)", operator.types("relay", "status").stdout, re.M)
    return told and told[1]


def local_day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at))


def test_12_when_what_is_to_be_read_anew_is_wrong(
    stranger: Operator, processes: Processes, tmp_path: Path
) -> None:
    file = tmp_path / "relay.yaml"
    file.write_text("relay:\n  linger_s: 5\n")
    away = ("--url", "ws://127.0.0.1:9/ws", "--no-record")
    start_relay(processes, stranger, "--config", str(file), *away).ready()
    assert stranger.types("relay", "reload").returncode == 0
    file.write_text("relay:\n  lingers: 5\n")
    done = stranger.types("relay", "reload")
    assert done.returncode == 12
    assert f"error: {file}:2: there is no setting 'relay.lingers'" in done.stderr


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ("profiles: {default: {url: ws://127.0.0.1:9/ws}, lost: {url: LOST}}", "default.url"),
        ("profiles: {default: {url: HERE}}", "profiles.lost"),
        ("profile: lost\nprofiles: {default: {url: HERE}, lost: {url: LOST}}", "profile"),
    ],
)
def test_what_waits_for_a_restart_changes_no_credential_of_a_relay_that_runs(
    stranger: Operator, processes: Processes, changed: str, told: str
) -> None:
    """It goes on as it began: each profile at its upstream, the variable's token for the first."""
    stranger.logs_in()
    token = stranger.types("token").stdout.strip()
    stranger.types("logout")
    file = stranger.home / "config.yaml"
    here, lost = stranger.url, "ws://127.0.0.1:9/ws"
    file.write_text(f"profiles: {{default: {{url: {here}}}, lost: {{url: {lost}}}}}\n")
    words = ("--no-record", "--also", "lost")
    command = megabot("relay", "--listen", ":0", "--admin-listen", ":0", *words)
    given = stranger.environment({"MEGABOT_URL": "", "MEGABOT_TOKEN": token})
    relay = processes.start("relay", command, env=given, typed="")
    relay.ready()
    file.write_text(changed.replace("HERE", here).replace("LOST", lost) + "\n")
    asks = ("relay", "-p", "default")
    done = stranger.types(*asks, "reload", env={"MEGABOT_URL": here})
    assert done.returncode == 0, done.stderr
    assert "only after a restart: " in done.stderr
    assert told in done.stderr
    listed = stranger.types(*asks, "sessions", "--json").stdout
    (link,) = (each["link"] for each in json.loads(listed) if each["profile"] == "default")
    assert stranger.types(*asks, "close", link).returncode == 0
    relay.wait_for_line("link.came_back")


def test_of_a_relay_of_several_profiles_p_says_whose_things_are_meant(
    stranger: Operator, processes: Processes
) -> None:
    addresses = {name: {"url": "ws://127.0.0.1:9/ws"} for name in ("one", "two", "alone")}
    (stranger.home / "config.yaml").write_text(json.dumps({"profiles": addresses}))
    here = {"MEGABOT_URL": ""}
    words = ("-p", "one", "--also", "two", "--no-record", "--listen", ":0", "--admin-listen", ":0")
    given = stranger.environment(here)
    processes.start("relay", megabot("relay", *words), env=given, typed="").ready()

    def links(*named: str) -> list[list[str]]:
        done = stranger.types("relay", *named, "sessions", "--fields", "profile,link", env=here)
        return [line.split() for line in done.stdout.splitlines()]

    ((whose, link),) = links("-p", "two")
    assert whose == "two"
    everything = stranger.types("relay", "sessions", env={**here, "MEGABOT_PROFILE": "two"})
    assert " one " in everything.stdout
    other = stranger.types("relay", "-p", "one", "close", link, env=here)
    assert (other.returncode, f"link {link!r} of profile 'one'" in other.stderr) == (9, True)
    assert stranger.types("relay", "-p", "two", "close", link, env=here).returncode == 0
    assert stranger.types("relay", "-p", "two", "reauth", env=here).returncode == 0
    for verb in ("status", "drain"):
        unserved = stranger.types("relay", "-p", "alone", verb, env=here)
        assert (unserved.returncode, "One runs for one, two" in unserved.stderr) == (9, True)
        unknown = stranger.types("relay", "-p", "nobody", verb, env=here)
        assert (unknown.returncode, "Known: alone, default, one, two" in unknown.stderr) == (
            9,
            True,
        )


def test_an_upstream_that_is_not_verified_is_warned_of_at_the_start_and_in_a_metric(
    ann: Operator, processes: Processes
) -> None:
    relay = start_relay(
        processes, ann, "--mode", "dedicated", "--upstream", "wss://127.0.0.1:9/ws",
        "--tls-insecure", "--no-record",
    )  # fmt: skip
    with urllib.request.urlopen(f"{relay.ready()['admin_url']}/metrics") as answer:  # noqa: S310
        assert 'megabot_relay_tls_insecure{profile="default"} 1.0' in answer.read().decode()
    assert "upstream.not_verified" in relay.errors


def test_vv_shows_debug_lines_of_each_message_too(ann: Operator, processes: Processes) -> None:
    for more, shows in (("-v", False), ("-vv", True)):
        relay = start_relay(processes, ann, "--no-record", more)
        relay.ready()
        assert ann.types("send", "hi").returncode == 0
        assert relay.stop() == 0
        assert ("message.passed" in relay.errors) == shows


def test_the_admin_listener_may_be_a_unix_socket(ann: Operator, processes: Processes) -> None:
    path = ann.home / "admin.sock"
    start_relay(processes, ann, "--admin-listen", f"unix:{path}").ready()
    facts = json.loads(ann.types("relay", "status", "--json").stdout)
    assert facts["admin_url"] == f"unix:{path}"
    assert ann.types("relay", "mark", "here").returncode == 0
    assert ann.types("relay", "close", "nobody").returncode == 9
    checks = json.loads(ann.types("doctor", "--json").stdout)["checks"]
    assert [each["verdict"] for each in checks if each["check"] == "relay"] == ["ok"]


def test_a_second_relay_of_a_profile_is_told_and_takes_the_first_one_away_from_nobody(
    relay: Running, processes: Processes
) -> None:
    first = relay.facts
    second = start_relay(processes, relay.operator)
    line = second.wait_for_line("another relay serves profile 'default' already")
    assert f"{first['url']}, process {first['pid']}" in line
    assert second.ready()["url"] in relay.operator.types("relay", "status").stdout
    second.stop()
    assert first["url"] in relay.operator.types("relay", "status").stdout
