"""Every command in the README runs as it stands, from the first to the last.

Commands that run until Ctrl-C stay up for those that follow, as in a terminal of their own.
Only the ports are moved, by the settings' own variables, to some that are free, and the
gateway does not take its time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from megabot_cli.commands.table import COMMANDS
from tests.scripts.conftest import Operator
from tests.scripts.test_terminal import ended, on_a_terminal
from tests.support.ports import kept_port
from tests.support.processes import Process, Processes, megabot

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
_BLOCK = re.compile(r"```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)
_STAYS = re.compile(r"megabot (gateway|relay|tail)$")
_PASSWORD = re.compile(r"only this once:\s+(\S+)")
_CALLS_A_PEER = {"promtool", "curl"}


def commands() -> Iterator[str]:
    """Each line of a shell block, without its comment."""
    for block in _BLOCK.finditer(README):
        if block["language"] == "sh":
            for line in block["text"].splitlines():
                yield re.sub(r"\s+# .*", "", line)


def block_of(language: str) -> str:
    (text,) = [block["text"] for block in _BLOCK.finditer(README) if block["language"] == language]
    return text


@dataclass
class Reader:
    """Somebody who types what stands there, in a folder with an application of their own."""

    ann: Operator
    folder: Path
    env: dict[str, str]
    up: dict[str, Process] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def types(self, line: str, processes: Processes) -> None:
        if line.startswith("make "):
            # They run this very suite, and the tour: here it is enough that they exist.
            self._in_a_shell(line.replace("make ", f"make -n -C {ROOT} "))
        elif _STAYS.match(line):
            process = processes.start(
                line, megabot(*line.split()[1:]), env=self.environment, typed="", folder=self.folder
            )
            if "tail" not in line:
                process.ready()
            self.up[line] = process
        elif line.startswith("megabot login"):
            self._logs_in(line)
        elif (program := line.split()[0]) in _CALLS_A_PEER and shutil.which(program) is None:
            self.missing.append(program)
        else:
            self._in_a_shell(line.replace("127.0.0.1:3101", self.env["MEGABOT_RELAY_ADMIN_LISTEN"]))

    @property
    def environment(self) -> dict[str, str]:
        return self.ann.environment(self.env)

    def _logs_in(self, line: str) -> None:
        gateway = self.up["megabot gateway"]
        said = gateway.wait_for("the password", lambda: _PASSWORD.findall(gateway.errors))
        with on_a_terminal(self.ann, *line.split()[1:], **self.env) as child:
            child.expect("assword")
            child.sendline(said[0])
            shown, code = ended(child)
            assert code == 0, shown

    def _in_a_shell(self, line: str) -> None:
        program = " ".join(megabot())
        script = f'megabot() {{ {program} "$@"; }}\n{line}'
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", script],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    with contextlib.ExitStack() as ports:
        yield open_reader(tmp_path, ports)


def open_reader(tmp_path: Path, ports: contextlib.ExitStack) -> Reader:
    home, folder = tmp_path / "home", tmp_path / "work"
    home.mkdir(mode=0o700)
    folder.mkdir()
    (folder / "app.log").write_text("12:00:01 the cache is cold\n")
    (folder / "questions.txt").write_text("Who?\nHow?\n")
    (folder / "test_app.py").write_text(APPLICATION)
    (folder / "mine.yaml").write_text(block_of("yaml"))
    (folder / "config").symlink_to(ROOT / "config")
    gateway, relay, admin = (f"127.0.0.1:{ports.enter_context(kept_port())}" for _ in range(3))
    env = {
        "MEGABOT_GATEWAY_LISTEN": gateway,
        "MEGABOT_GATEWAY_CHUNK_DELAY_S": "0.002",
        "MEGABOT_RELAY_LISTEN": relay,
        "MEGABOT_RELAY_ADMIN_LISTEN": admin,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "NO_PROXY": "*",
    }
    return Reader(Operator(home, f"ws://{gateway}/ws"), folder, env)


APPLICATION = """
import os

def test_the_application():
    assert os.environ["MEGABOT_URL"].startswith("ws://127.0.0.1:")
"""


@pytest.mark.timeout(240)
def test_every_command_of_the_readme_runs(reader: Reader, processes: Processes) -> None:
    lines = list(commands())
    assert lines[:2] == ["make demo", "make test"]
    assert len(lines) > 30
    for line in lines:
        reader.types(line, processes)
    tail = reader.up["megabot tail"]
    tail.wait_for_line("Is anybody there?")
    assert (reader.folder / "answers.jsonl").read_text().count("\n") == 2
    asyncio.run(run_the_python(reader))
    if reader.missing:
        pytest.skip(f"not on this machine: {', '.join(reader.missing)}; all else of it runs")


async def run_the_python(reader: Reader) -> None:
    """The block for programs, against the relay that is up."""
    text = block_of("python").replace("127.0.0.1:3100", reader.env["MEGABOT_RELAY_LISTEN"])
    space: dict[str, object] = {}
    exec("async def main():\n" + textwrap.indent(text, "    ") + "    return answer", space)  # noqa: S102
    answer = await space["main"]()  # type: ignore[operator]
    assert answer.text.startswith("You said “What is a relay?”")


def test_every_command_there_is_stands_in_the_readme_or_below_another() -> None:
    named = {line.split()[1] for line in commands() if line.startswith("megabot ")}
    named |= {"demo", "tool", "logout", "whoami", "token"}
    assert {entry.name for entry in COMMANDS} <= named


def test_what_the_readme_points_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target
    for page in re.findall(r"`(megabot-[a-z]+)`", README):
        assert list((ROOT / "man").glob(f"{page}.*")), page
    for path in (ROOT / "man").glob("*.[57]"):
        assert re.search(rf"\b{path.stem}\b", README), f"{path.name} is named nowhere"
