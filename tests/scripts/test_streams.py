"""stdout carries the result and nothing else; pipes, files and closed streams are no fault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripts.conftest import Operator
from tests.support.processes import Processes, bare_environment, megabot


def test_a_reader_that_leaves_early_is_no_fault(ann: Operator) -> None:
    done = ann.shell("megabot --help | head -1; megabot config show | head -1")
    assert done.returncode == 0
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 2


def test_an_idle_tail_ends_when_its_reader_leaves(ann: Operator, processes: Processes) -> None:
    line = f"{' '.join(megabot())} tail | head -1; echo ${{PIPESTATUS[0]}}"
    watching = processes.start("tail | head", ["bash", "-c", line], env=ann.environment())
    assert watching.wait(limit_s=10.0) == 0
    greeting, code = watching.lines
    assert "connection_established" in greeting
    assert code == "0"


@pytest.mark.parametrize("line", ["send hi", "config show relay"])
def test_the_bytes_are_the_same_in_a_file_and_in_a_pipe(ann: Operator, line: str) -> None:
    done = ann.shell(f"cd $MEGABOT_HOME; megabot {line} > out; megabot {line} | cat > piped")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    written = [(ann.home / name).read_text() for name in ("out", "piped")]
    assert "\x1b" not in written[0]
    assert written[0] == written[1]


def test_colour_is_for_terminals_unless_it_is_forced(ann: Operator) -> None:
    plain = ann.types("config", "show", "relay.mode", env={"NO_COLOR": ""})
    forced = ann.types("config", "show", "relay.mode", env={"NO_COLOR": "", "FORCE_COLOR": "1"})
    always = ann.types("--color", "always", "config", "show", "relay.mode")
    assert "\x1b" not in plain.stdout
    assert "\x1b[1m" in forced.stdout
    assert forced.stdout == always.stdout


def test_closed_standard_streams_are_no_fault(ann: Operator) -> None:
    done = ann.shell("megabot send hi <&- 2>&-")
    assert done.returncode == 0
    assert done.stdout.startswith("You said")
    assert ann.shell("megabot send hi >&-").returncode == 0


@pytest.mark.parametrize("redirection", ["< /dev/null", "<&-"])
@pytest.mark.parametrize("line", ["tail -", "recordings show -", "recordings stats - --json"])
def test_a_recording_from_an_input_that_holds_nothing_is_an_empty_one(
    stranger: Operator, line: str, redirection: str
) -> None:
    done = stranger.shell(f"megabot {line} {redirection}")
    assert done.returncode == 0, done.stderr
    assert "torn" not in done.stderr
    assert ("standard input: empty" in done.stderr) == (line != "tail -")


@pytest.mark.parametrize("source", ["/dev/null", "FILE", "CLOSED"])
def test_login_never_hangs_on_an_input_that_is_no_terminal(
    stranger: Operator, tmp_path: Path, source: str
) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    redirection = {"/dev/null": "< /dev/null", "FILE": f"< {empty}", "CLOSED": "<&-"}[source]
    done = stranger.shell(f"megabot login --username ann {redirection}")
    assert done.returncode == 2
    assert "--password-stdin" in done.stderr
    done = stranger.shell(f"megabot login --username ann --password-stdin {redirection}")
    assert done.returncode == 2
    assert "nothing on stdin" in done.stderr


def test_stdin_is_left_alone_by_who_does_not_ask_for_it(ann: Operator) -> None:
    """As in a loop over lines: `send` must not eat what the loop reads."""
    done = ann.shell("printf 'a\\nb\\n' | while read -r word; do megabot send $word; done")
    assert done.stdout.count("You said") == 2


def test_without_a_home_or_a_locale_everything_works(gateway: str, tmp_path: Path) -> None:
    environ = bare_environment(tmp_path) | {"MEGABOT_URL": gateway, "LC_ALL": "C"}
    del environ["HOME"], environ["MEGABOT_HOME"]
    environ |= {"XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    done = subprocess.run(
        megabot("config", "path", "--json"), env=environ, capture_output=True, check=True
    )
    assert json.loads(done.stdout)["config"] == str(tmp_path / "megabot" / "config.yaml")


def test_words_of_any_script_survive_an_ascii_locale(ann: Operator) -> None:
    done = ann.types("send", "grüße 你好", env={"LC_ALL": "C", "PYTHONUTF8": "0"})
    assert "grüße 你好" in done.stdout


def test_the_profile_comes_from_flag_or_environment(ann: Operator) -> None:
    shown = [
        json.loads(ann.types(*line, env=env).stdout)["profile"]
        for line, env in (
            (("config", "show", "-p", "one", "--url", ann.url, "--json"), {}),
            (("--json", "config", "show"), {"MEGABOT_PROFILE": "two"}),
        )
    ]
    assert shown == ["one", "two"]


def test_a_misspelt_variable_is_told(ann: Operator) -> None:
    done = ann.types("config", "show", env={"MEGABOT_RELAY_LISTN": "x"})
    assert "MEGABOT_RELAY_LISTN sets nothing" in done.stderr


def test_the_program_is_a_module_and_a_command() -> None:
    command = Path(sys.executable).parent / "megabot"
    shown = subprocess.run(
        [str(command), "--version"], capture_output=True, text=True, check=True, env={**os.environ}
    )
    module = subprocess.run(megabot("-V"), capture_output=True, text=True, check=True)
    assert shown.stdout == module.stdout
