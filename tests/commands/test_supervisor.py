"""A service manager hears how the relay is, over a real datagram socket."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from megabot_cli.commands.supervisor import Supervisor
from tests.support.processes import Process, Processes, running_processes, wait_until

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "config" / "systemd" / "megabot-relay.service"
USER_UNIT = UNIT.parent / "user" / UNIT.name

linux = pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")


class Listener:
    """What the supervisor hears, each datagram as its lines."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self.heard: list[list[str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.setblocking(False)

    def read(self) -> list[list[str]]:
        try:
            while True:
                self.heard.append(self._socket.recv(4096).decode().split("\n"))
        except BlockingIOError:
            return self.heard

    def lines(self) -> list[str]:
        return [line for lines in self.read() for line in lines]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    listener = Listener(tmp_path / "notify")
    yield listener
    listener.close()


def test_without_a_manager_nothing_is_sent_and_nothing_fails() -> None:
    supervisor = Supervisor.of({})
    assert supervisor.address is None
    supervisor.ready()
    supervisor.status("well")
    with supervisor.heartbeat(lambda: "never asked"):
        supervisor.stopping()


def test_each_word_is_one_datagram(listener: Listener) -> None:
    supervisor = Supervisor.of({"NOTIFY_SOCKET": listener.address})
    supervisor.ready()
    supervisor.status("3 clients\nand more")
    supervisor.status("3 clients and more")  # as before: not told again
    supervisor.stopping()
    assert listener.read() == [["READY=1"], ["STATUS=3 clients and more"], ["STOPPING=1"]]


def test_a_reload_brings_the_time_on_the_supervisors_clock(listener: Listener) -> None:
    before_us = time.monotonic_ns() // 1000
    Supervisor.of({"NOTIFY_SOCKET": listener.address}).reloading()
    (word, clock), *more = listener.read()
    assert (word, more) == ("RELOADING=1", [])
    assert before_us <= int(clock.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


@linux
def test_an_abstract_address_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind("")  # the kernel chooses a name in the abstract namespace
        name = door.getsockname()
        Supervisor.of({"NOTIFY_SOCKET": "@" + name[1:].decode()}).ready()
        assert door.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["relative/path", "vsock:2:1234", "/nobody/listens/here"])
def test_a_manager_that_cannot_be_reached_is_no_fault(address: str) -> None:
    Supervisor.of({"NOTIFY_SOCKET": address}).ready()


def test_a_manager_that_does_not_read_never_makes_the_program_wait(listener: Listener) -> None:
    supervisor = Supervisor.of({"NOTIFY_SOCKET": listener.address})
    started = time.monotonic()
    for _ in range(1000):
        supervisor.alive()
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_counts_when_it_is_for_this_process(
    environ: dict[str, str], expected: float | None
) -> None:
    found = Supervisor.of({"NOTIFY_SOCKET": "/run/notify", **environ}, pid=7)
    assert found.watchdog_s == expected


async def test_the_event_loop_itself_beats_three_times_in_the_watchdogs_time(
    listener: Listener,
) -> None:
    supervisor = Supervisor(listener.address, watchdog_s=0.15)
    counts = iter(range(1000))
    with supervisor.heartbeat(lambda: f"beat {next(counts)}"):
        async with asyncio.timeout(5):
            while listener.lines().count("WATCHDOG=1") < 4:  # noqa: ASYNC110  a socket is read
                await asyncio.sleep(0.01)
    beats = len(listener.read())
    await asyncio.sleep(0.15)
    assert len(listener.read()) == beats, "nothing is sent once it is over"
    assert {"STATUS=beat 0", "STATUS=beat 1"} <= set(listener.lines())


@linux
def test_a_relay_tells_ready_status_reload_alive_and_stopping(
    tmp_path: Path, listener: Listener
) -> None:
    with running_processes(tmp_path / "home") as processes:
        relay = _start(processes, listener, WATCHDOG_USEC="600000")
        wait_until(lambda: "READY=1" in listener.lines(), "ready is told", 20, said=relay.said)
        wait_until(lambda: listener.lines().count("WATCHDOG=1") >= 2, "it is alive")
        assert "STATUS=0 clients, 1 of 1 links up" in listener.lines()
        relay.signal(signal.SIGHUP)
        wait_until(lambda: listener.lines().count("READY=1") == 2, "ready again", said=relay.said)
        words = [line.partition("=")[0] for line in listener.lines()]
        assert words.index("RELOADING") < len(words) - 1 - words[::-1].index("READY")
        relay.signal(signal.SIGTERM)
        assert relay.wait(20) == 0, relay.said()
    assert "STOPPING=1" in listener.lines()


def _start(processes: Processes, listener: Listener, **environ: str) -> Process:
    return processes.megabot(
        "relay", "--gateway", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
        env={"NOTIFY_SOCKET": listener.address, "MEGABOT_GATEWAY_LISTEN": ":0", **environ},
    )  # fmt: skip


# -- the units -----------------------------------------------------------------------------


def settings(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("unit", [UNIT, USER_UNIT], ids=["system", "user"])
def test_a_unit_says_what_the_relay_does(unit: Path) -> None:
    found = settings(unit)
    assert found["Type"] == ["notify"]
    assert found["ExecStart"] == ["megabot relay"]
    assert found["ExecReload"] == ["kill -HUP $MAINPID"]
    assert float(found["WatchdogSec"][0]) > 5
    # Ten seconds for work under way, five for outboxes, and the recording is sealed.
    assert float(found["TimeoutStopSec"][0]) > 20
    assert found["KillMode"] == ["mixed"], "the recorder's process ends by itself"
    assert found["NoNewPrivileges"] == ["yes"]


@pytest.mark.parametrize("unit", [UNIT, USER_UNIT], ids=["system", "user"])
def test_systemd_finds_no_fault_in_the_unit(unit: Path, tmp_path: Path) -> None:
    whose = ["--user"] if unit == USER_UNIT else []
    checked = _analyze(tmp_path, "verify", "--man=no", *whose, str(_installed(unit, tmp_path)))
    assert (checked.returncode, checked.stderr) == (0, "")


def test_little_is_left_that_the_service_could_do_to_the_machine(tmp_path: Path) -> None:
    unit = _installed(UNIT, tmp_path)
    checked = _analyze(tmp_path, "security", "--offline=true", "--threshold=15", str(unit))
    assert checked.returncode == 0, checked.stdout[-300:]


def _installed(unit: Path, folder: Path) -> Path:
    """As it is where the program is installed: systemd wants to find it."""
    copy = folder / unit.name
    megabot = Path(sys.executable).with_name("megabot")
    text = unit.read_text(encoding="utf-8")
    copy.write_text(text.replace("ExecStart=megabot", f"ExecStart={megabot}"))
    return copy


def _analyze(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("no systemd-analyze on this machine")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    if int(said.split()[1].partition(".")[0]) < 250:
        pytest.skip(f"this systemd does not know ExecSearchPath: {said.splitlines()[0]}")
    environment = {"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(folder)}
    return subprocess.run(
        [found, *arguments], capture_output=True, text=True, check=False, env=environment
    )
