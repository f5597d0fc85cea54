"""Ctrl-C: at once, without a trace of ours, and with the terminal as it was."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.scripts.conftest import Operator, start_gateway
from tests.scripts.test_terminal import echoes, on_a_terminal
from tests.support.processes import Process, Processes, megabot, running_processes, wait_until

SEALED = Path(__file__).parents[1] / "golden" / "recording_1_0" / "sealed"
SWITCHED = {  # on, off
    "\x1b[?25l": "\x1b[?25h",  # the cursor
    "\x1b[?1049h": "\x1b[?1049l",  # the other screen
    "\x1b[?2004h": "\x1b[?2004l",  # pasting in brackets
}


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Where an upstream would listen that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10.0)
        yield listener


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """Logged in where an answer takes a minute, and with a relay of her own there."""
    home = tmp_path_factory.mktemp("waiting")
    with running_processes(home) as processes:
        url = start_gateway(processes, "--listen", "127.0.0.1:0", "--latency", "60s")
        operator = Operator(home, url)
        operator.logs_in()
        addresses = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--no-record")
        processes.megabot("relay", *addresses, env={"MEGABOT_URL": url}).ready()
        yield operator


CONNECTING, READING = "it has connected", "it reads"


@pytest.mark.parametrize(
    ("line", "until"),
    [
        ("login", "User name: "),
        ("login --username ann", "Password of ann: "),
        ("bench --direct --url ws://megabot.example/ws", r"Go on\? "),
        ("recordings prune --keep-bytes 0", r"Remove 3 segments\? "),
        ("send hi -v --wait type:notification", "open: session"),
        ("send hi -v --direct", "open: session"),
        ("send -", READING),
        ("send hi --direct --url SILENT", CONNECTING),
        ("send hi --no-wait --direct --url SILENT", CONNECTING),
        ("send --jsonl - -v", "open: session"),
        ("tool time --direct --url SILENT", CONNECTING),
        ("tail", "watching"),
        ("tail --direct --record FOLDER/kept", "connection_established"),
        ("tail -", READING),
        ("replay FOLDER/said.jsonl --expect none", "space pauses"),
        ("replay FOLDER/said.jsonl --expect none --pace step", "space pauses"),
        ("relay top", "messages/s"),
        ("bench --direct --duration 30s", "for 30 s"),
        ("doctor --url SILENT", CONNECTING),
        ("whoami --url SILENT", CONNECTING),
        ("chat --direct --url SILENT", CONNECTING),
        ("relay --no-record --listen :0 --admin-listen :0 --url SILENT", CONNECTING),
        ("demo", "listening on"),
    ],
)
def test_ctrl_c_ends_every_wait_and_leaves_the_terminal_as_it_was(
    slow: Operator, silent: socket.socket, tmp_path: Path, line: str, until: str
) -> None:
    said = '{"id":"m%d","type":"chat_send","payload":{"content":"hi"},"timestamp":%d}\n'
    (tmp_path / "said.jsonl").write_text(said % (1, 1640995200) + said % (2, 1640995260))
    (tmp_path / "recordings").mkdir()
    shutil.copytree(SEALED, tmp_path / "recordings" / "rec_1")
    address = f"ws://127.0.0.1:{silent.getsockname()[1]}/ws"
    words = line.replace("SILENT", address).replace("FOLDER", str(tmp_path))
    env = {"MEGABOT_RECORDING_FOLDER": str(tmp_path / "recordings")}
    env |= {"MEGABOT_TOKEN": "x"} if address in words else {}
    with on_a_terminal(slow, *words.split(), **env) as child:
        seen = _reached(child, until, silent)
        child.sendintr()
        began_at = time.monotonic()
        child.expect(pexpect.EOF)
        child.wait()
        took_s = time.monotonic() - began_at
        shown = seen + str(child.before)
        assert child.exitstatus == 130, shown
        assert took_s < 3.0  # a second is promised; the machine may be busy
        assert echoes(child)
    assert "Traceback" not in shown
    assert len(list((tmp_path / "recordings").iterdir())) == 1
    for on, off in SWITCHED.items():
        assert shown.rfind(on) <= shown.rfind(off)


def _reached(child: Any, until: str, silent: socket.socket) -> str:
    """Wait until the command waits; return what it has shown."""
    if until == CONNECTING:
        silent.accept()[0].detach()  # stays open, and is the process's to close
        return ""
    if until == READING:
        wait_until(lambda: _reads_stdin(child.pid), "it reads")
        return ""
    child.expect(until)
    return str(child.before) + str(child.after)


def _reads_stdin(pid: int) -> bool:
    """Whether one of its threads is in `read` of descriptor 0, as Linux tells."""
    calls = [task.read_text().split() for task in Path(f"/proc/{pid}/task").glob("*/syscall")]
    return any(call[:2] == ["0", "0x0"] for call in calls)


def test_before_and_after_the_program_itself_ctrl_c_shows_no_trace_either(
    slow: Operator, processes: Processes, tmp_path: Path
) -> None:
    """A second one, say, when everything is tidied and Python is still on its way out."""
    (tmp_path / "typer.py").write_text("import time\nprint('loading')\ntime.sleep(60)\n")
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "sitecustomize.py").write_text(
        "import atexit, time\natexit.register(lambda: (print('ending'), time.sleep(60)))\n"
    )
    for folder, said in ((tmp_path, "loading"), (tmp_path / "late", "ending")):
        env = slow.environment({"PYTHONPATH": str(folder)})
        running = processes.start(said, megabot("config", "path"), env=env)
        running.wait_for_line(said)
        running.signal(signal.SIGINT)
        assert running.wait(limit_s=5.0) in (-signal.SIGINT, 130)  # both are 130 in a shell
        assert running.errors == ""


NOBODY_KNOWS = """
import socket, time
known = socket.getaddrinfo
def getaddrinfo(host, *more):
    if host == "nobody.example":
        print("resolving", flush=True)
        time.sleep(60)
    return known(host, *more)
socket.getaddrinfo = getaddrinfo
"""


@pytest.mark.parametrize("line", ["send hi", "send hi --no-wait", "tail", "bench -y", "relay"])
def test_ctrl_c_does_not_wait_for_a_resolver_that_hangs(
    slow: Operator, processes: Processes, tmp_path: Path, line: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(NOBODY_KNOWS)
    words = [*line.split(), "--url", "ws://nobody.example/ws"]
    words += ["--no-record", "--listen", ":0", "--admin-listen", ":0"] if line == "relay" else []
    env = slow.environment({"PYTHONPATH": str(tmp_path), "MEGABOT_TOKEN": "x"})
    env["MEGABOT_HOME"] = str(tmp_path)  # no relay is there
    running = processes.start(line, megabot(*words), env=env)
    running.wait_for_line("resolving")
    running.signal(signal.SIGINT)
    assert running.wait(limit_s=5.0) == 130
    assert "Warning" not in running.errors


def test_ctrl_c_ends_the_reading_of_a_recording_that_is_to_be_replayed(
    slow: Operator, processes: Processes, tmp_path: Path
) -> None:
    pipe = tmp_path / "never.jsonl"
    os.mkfifo(pipe)
    running = processes.start("replay", megabot("replay", str(pipe)), env=slow.environment())
    with pipe.open("w") as writer:  # somebody opened it to read, and gets nothing
        running.signal(signal.SIGINT)
        assert running.wait(limit_s=5.0) == 130
        writer.close()


TIDIES = """
import asyncio, os, signal
from megabot_cli.commands.running import run

async def work():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(60)
    finally:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.1)
        print("tidied", flush=True)
        await asyncio.sleep(60)  # and now it hangs

run(work())
"""


def test_a_second_ctrl_c_at_once_breaks_nothing_off_and_a_later_one_does(
    processes: Processes,
) -> None:
    running = processes.start("tidies", [sys.executable, "-c", TIDIES])
    running.wait_for_line("tidied")
    wait_until(lambda: _ends_on_ctrl_c(running), "it ends", 5.0)
    assert "KeyboardInterrupt" in running.errors


def _ends_on_ctrl_c(running: Process) -> bool:
    running.signal(signal.SIGINT)
    return not running.alive


SUMS_UP = """
import time
try:
    print("testing", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)
    print("summed up", flush=True)
    raise SystemExit(2)
"""


def test_a_command_that_runs_against_a_gateway_ends_in_its_own_way(slow: Operator) -> None:
    line = ("gateway", "--listen", ":0", "--", sys.executable, "-c", SUMS_UP)
    with on_a_terminal(slow, *line) as child:
        child.expect("testing")
        child.sendintr()
        child.expect("summed up")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 2
