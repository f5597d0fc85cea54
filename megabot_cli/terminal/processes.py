"""Programs that a command starts: their output gathered, and none left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from megabot_cli.errors import ExpectationFailed

LOOK_S = 0.02


class Background:
    """A megabot process that runs on while others do their work.

    Its lines are gathered by a thread each for stdout and stderr, so it never waits for us.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], env: Mapping[str, str], text_in: str = ""
    ) -> None:
        self.name = name
        self.lines: list[str] = []
        self.error_lines: list[str] = []
        self._process = subprocess.Popen(  # noqa: S603  our own program, no shell
            megabot(*arguments),
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C comes to us alone; we end the others in order
        )
        self._readers = [
            threading.Thread(target=self._gather, args=pair, daemon=True)
            for pair in (
                (self._process.stdout, self.lines),
                (self._process.stderr, self.error_lines),
            )
        ]
        for reader in self._readers:
            reader.start()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(text_in)
                self._process.stdin.close()

    @staticmethod
    def _gather(stream: Any, lines: list[str]) -> None:
        # Each line is there for others as soon as it has come.
        for line in stream:
            lines.append(line.rstrip("\n"))  # noqa: PERF401

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait_for(self, what: str, found: Callable[[], Any], limit_s: float = 15.0) -> Any:
        """Look until `found` gives something true and return that; ExpectationFailed if never."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            if result := found():
                return result
            if not self.running:
                break
            wait(LOOK_S)
        said = "\n".join(self.error_lines[-5:])
        raise ExpectationFailed(f"{self.name}: {what} did not happen", said or None)

    def ready(self, limit_s: float = 15.0) -> dict[str, Any]:
        """The facts of the machine-readable ready line."""
        facts: dict[str, Any] = self.wait_for("the ready line", self._ready_line, limit_s)
        return facts

    def _ready_line(self) -> dict[str, Any] | None:
        for line in self.lines:
            with contextlib.suppress(ValueError):
                facts = json.loads(line)
                if isinstance(facts, dict) and facts.get("event") == "ready":
                    return facts
        return None

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()

    def stop(self, limit_s: float = 20.0) -> int:
        """Ask it to end, insist after `limit_s`; returns its exit code."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
        return self.finish(limit_s)

    def finish(self, limit_s: float) -> int:
        """Wait until it ends by itself, insist after `limit_s`; returns its exit code."""
        try:
            code = self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.returncode
        for reader in self._readers:
            reader.join(1.0)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        return code


def megabot(*arguments: str) -> list[str]:
    """The command line of this very program, whatever the PATH says."""
    return [sys.executable, "-m", "megabot_cli", *arguments]


def run(
    arguments: Sequence[str], env: Mapping[str, str], *, text_in: str = "", limit_s: float = 30.0
) -> subprocess.CompletedProcess[str]:
    """Run a megabot command to its end and return what it said."""
    return subprocess.run(  # noqa: S603  our own program, no shell
        megabot(*arguments),
        env=dict(env),
        input=text_in,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )


def wait(seconds: float) -> None:
    """Let others work. An Event's wait, unlike sleep, lets a signal handler in at once."""
    threading.Event().wait(seconds)


def bare_environment(home: str) -> dict[str, str]:
    """The environment without anybody's settings, and everything kept under `home`."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MEGABOT_")}
    return {**inherited, "MEGABOT_HOME": home, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}
