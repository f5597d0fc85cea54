"""Programs that run beside a test: started, watched, spoken to, and gone with it.

    def test_...(processes: Processes) -> None:
        gateway = processes.megabot("gateway", "--listen", "127.0.0.1:0", ...)
        url = gateway.ready()["url"]

Everything a program writes is gathered by threads, so it never waits for the test, and is
printed when the test ends: pytest shows it with a failure. What a test starts is killed with
all that it started itself, and reaped, whatever the test does.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

import pytest

T = TypeVar("T")

# A loaded machine with two cores. Who tests how soon something comes names a limit itself.
READY_LIMIT_S = 30.0
LIMIT_S = 20.0
LOOK_S = 0.01
SHOWN_LINES = 60


class NotInTime(AssertionError):
    """Something that a test waits for did not happen; the text says all that did."""


def wait_until(
    found: Callable[[], T], what: str, limit_s: float = LIMIT_S, *, said: Callable[[], str] = str
) -> T:
    """Look until `found` gives something true and return that; NotInTime if it never does."""
    deadline = time.monotonic() + limit_s
    while not (result := found()):
        if time.monotonic() >= deadline:
            raise NotInTime(f"{what}: not within {limit_s:g} s\n{said()}")
        time.sleep(LOOK_S)
    return result


class Process:
    """One running program, the leader of a process group of its own."""

    def __init__(
        self, name: str, command: Sequence[str], env: Mapping[str, str], folder: Path | None = None
    ) -> None:
        self.name = name
        self.lines: list[str] = []
        self.error_lines: list[str] = []
        self._code: int | None = None
        self._popen = subprocess.Popen(
            list(command),
            env=dict(env),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
            start_new_session=True,
        )
        self.pid = self._popen.pid
        self._readers = [
            self._gather(self._popen.stdout, self.lines),
            self._gather(self._popen.stderr, self.error_lines),
        ]

    def _gather(self, stream: IO[str] | None, lines: list[str]) -> threading.Thread:
        assert stream is not None

        def read() -> None:
            for line in stream:
                lines.append(line.rstrip("\n"))  # noqa: PERF401  each is there as it comes

        thread = threading.Thread(target=read, name=f"output of {self.name}", daemon=True)
        thread.start()
        return thread

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    # -- what it says ------------------------------------------------------------------------

    @property
    def output(self) -> str:
        """All of stdout so far."""
        return "\n".join(self.lines)

    @property
    def errors(self) -> str:
        """All of stderr so far."""
        return "\n".join(self.error_lines)

    def said(self) -> str:
        """What it wrote lately and how it stands, for people."""
        state = "running" if self._code is None and self.alive else f"exit {self._code}"
        parts = [f"-- {self.name} (pid {self.pid}, {state})"]
        for title, lines in (("stdout", self.lines), ("stderr", self.error_lines)):
            if lines:
                parts += [f"-- {title}:", *lines[-SHOWN_LINES:]]
        return "\n".join(parts)

    def wait_for(self, what: str, found: Callable[[], T], limit_s: float = LIMIT_S) -> T:
        """As `wait_until`, but fails at once when the program ends before."""

        def look() -> T:
            ended = not self.alive
            if ended:
                self._read_to_the_end()
            result = found()
            if ended and not result:
                raise NotInTime(f"{what}: the program ended first\n{self.said()}")
            return result

        return wait_until(look, what, limit_s, said=self.said)

    def wait_for_line(self, part: str, limit_s: float = LIMIT_S) -> str:
        """The first line of stdout or stderr that holds `part`."""

        def found() -> str | None:
            lines = [*self.lines, *self.error_lines]
            return next((line for line in lines if part in line), None)

        line = self.wait_for(f"a line with {part!r}", found, limit_s)
        assert line is not None
        return line

    def json_lines(self) -> list[dict[str, Any]]:
        """The lines of stdout that are JSON objects."""
        objects = []
        for line in list(self.lines):
            with contextlib.suppress(ValueError):
                value = json.loads(line)
                if isinstance(value, dict):
                    objects.append(value)
        return objects

    def ready(self, limit_s: float = READY_LIMIT_S) -> dict[str, Any]:
        """The facts of the line that says the program serves."""

        def found() -> dict[str, Any] | None:
            events = self.json_lines()
            return next((facts for facts in events if facts.get("event") == "ready"), None)

        facts = self.wait_for("the ready line", found, limit_s)
        assert facts is not None
        return facts

    # -- what it is told ---------------------------------------------------------------------

    def write(self, text: str) -> None:
        """Type something."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(text)
        self._popen.stdin.flush()

    def close_input(self) -> None:
        """Say that nothing more will be typed."""
        assert self._popen.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._popen.stdin.close()

    def signal(self, number: int) -> None:
        """Signal the program alone, as `kill PID` does."""
        if self._code is None:
            os.kill(self.pid, number)

    # -- how it ends -------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        # Looked at without reaping: its number stays its own until `end`, so that no signal
        # can reach a stranger.
        if self._code is not None:
            return False
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, options) is None

    def wait(self, limit_s: float = LIMIT_S) -> int:
        """Wait until it ends by itself and return its exit code (negative: by that signal)."""
        wait_until(lambda: not self.alive, f"{self.name} ends", limit_s, said=self.said)
        return self.end()

    def stop(self, limit_s: float = 20.0) -> int:
        """Ask it to end (SIGTERM) and return its exit code; NotInTime if it does not."""
        self.signal(signal.SIGTERM)
        return self.wait(limit_s)

    def kill(self) -> int:
        """End it as a power cut would, with all that it started."""
        return self.end()

    def end(self) -> int:
        """Make sure that nothing of it is left; returns its exit code. May be called again."""
        if self._code is not None:
            return self._code
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._code = self._popen.wait()
        self._read_to_the_end()
        for stream in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        return self._code

    def _read_to_the_end(self) -> None:
        for reader in self._readers:
            reader.join(5.0)


class Processes:
    """What one test, or one module, has running. `home` holds all state of megabot."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.running: list[Process] = []

    @property
    def environment(self) -> dict[str, str]:
        return bare_environment(self.home)

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        typed: str | None = None,
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> Process:
        """Start any program. `typed` is all its input; None leaves the input open."""
        process = Process(name, command, {**self.environment, **(env or {})}, folder)
        self.running.append(process)
        if typed is not None:
            with contextlib.suppress(BrokenPipeError):
                process.write(typed)
            process.close_input()
        return process

    def megabot(
        self, *arguments: str, typed: str | None = "", env: Mapping[str, str] | None = None
    ) -> Process:
        """Start a megabot command that goes on running."""
        return self.start(f"megabot {arguments[0]}", megabot(*arguments), typed=typed, env=env)

    def run(
        self,
        *arguments: str,
        typed: str = "",
        env: Mapping[str, str] | None = None,
        limit_s: float = 30.0,
    ) -> Process:
        """Run a megabot command to its end; `wait()` of the result gives the exit code."""
        process = self.megabot(*arguments, typed=typed, env=env)
        process.wait(limit_s)
        return process

    def end(self) -> None:
        """End all, the last started first, and print what they said."""
        for process in reversed(self.running):
            process.end()
        for process in self.running:
            print(process.said())
        self.running.clear()


def megabot(*arguments: str) -> list[str]:
    """The command line of the program under test, whatever the PATH says."""
    return [sys.executable, "-m", "megabot_cli", *arguments]


def bare_environment(home: Path) -> dict[str, str]:
    """The environment without anybody's settings, with all state kept under `home`."""
    inherited = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("MEGABOT_", "XDG_", "PYTEST_"))
        and not key.lower().endswith("_proxy")
    }
    return inherited | {
        "HOME": str(home),
        "MEGABOT_HOME": str(home),
        "NO_COLOR": "1",
        # Nobody's own keyring gets what tests make up; a test that wants one names it.
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        "PYTHONUNBUFFERED": "1",
        "LC_ALL": "C.UTF-8",
        "COLUMNS": "100",
    }


@contextlib.contextmanager
def running_processes(home: Path) -> Iterator[Processes]:
    """Processes for a while, for fixtures of a wider scope."""
    processes = Processes(home)
    try:
        yield processes
    finally:
        processes.end()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Processes for one test. Import it in the room's conftest."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    with running_processes(home) as running:
        yield running
