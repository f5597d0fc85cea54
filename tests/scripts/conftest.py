"""A gateway for all scripts of one module, and an operator who is logged in there."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes import (
    Process,
    Processes,
    bare_environment,
    megabot,
    running_processes,
)

PASSWORD = "correct horse battery staple"


@dataclass
class Operator:
    """Somebody at a keyboard, whose home is `home`."""

    home: Path
    url: str

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**bare_environment(self.home), "MEGABOT_URL": self.url, **(more or {})}

    def types(
        self,
        *arguments: str,
        typed: str | bytes = b"",
        env: Mapping[str, str] | None = None,
        limit_s: float = 30.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a megabot command to its end, `typed` on its stdin."""
        return subprocess.run(
            megabot(*arguments),
            input=typed.decode() if isinstance(typed, bytes) else typed,
            env=self.environment(env),
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )

    def logs_in(self, *more: str, env: Mapping[str, str] | None = None) -> None:
        """As ann, at a gateway of `start_gateway`."""
        given = ("--username", "ann", "--password-stdin", "--storage", "file", *more)
        done = self.types("login", *given, typed=PASSWORD, env=env)
        assert done.returncode == 0, done.stderr

    def shell(
        self, line: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a line of bash in which `megabot` is the program under test."""
        program = " ".join(megabot())
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", f'megabot() {{ {program} "$@"; }}\n{line}'],
            env=self.environment(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a gateway with the user `ann`."""
    with running_processes(tmp_path_factory.mktemp("gateway")) as processes:
        yield start_gateway(processes, "--listen", "127.0.0.1:0")


def start_gateway(processes: Processes, *arguments: str) -> str:
    quick = ("--latency", "0", "--chunk-delay", "2ms")
    user = ("--username", "ann", "--password-stdin")
    started = processes.megabot("gateway", *quick, *user, *arguments, typed=PASSWORD)
    url: str = started.ready()["url"]
    return url


@pytest.fixture(scope="session")
def home_of_ann(gateway: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which somebody has logged in."""
    ann = Operator(tmp_path_factory.mktemp("ann"), gateway)
    ann.logs_in()
    return ann.home


@pytest.fixture
def ann(home_of_ann: Path, gateway: str) -> Operator:
    """Logged in. Her home is shared: scripts that change it take `stranger`."""
    return Operator(home_of_ann, gateway)


@pytest.fixture
def stranger(tmp_path: Path, gateway: str) -> Operator:
    """Not logged in, in a home of their own."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    return Operator(home, gateway)


def at_a_gateway_of_her_own(stranger: Operator, processes: Processes) -> tuple[Operator, Process]:
    """A stranger, logged in as ann at a gateway that others do not need."""
    user = ("--username", "ann", "--password-stdin")
    gateway = processes.megabot("gateway", "--listen", ":0", *user, typed=PASSWORD)
    ann = Operator(stranger.home, gateway.ready()["url"])
    ann.logs_in()
    return ann, gateway


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Programs that run beside one test."""
    home = tmp_path / "processes"
    home.mkdir(mode=0o700)
    with running_processes(home) as running:
        yield running
