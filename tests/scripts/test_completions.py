"""Completions as one installs them, tried in the shells themselves."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import pytest

from megabot_cli.commands.places import find_places
from megabot_cli.commands.shells.scripts import BASH_COMPLETION, FILE_NAMES, place_of
from megabot_cli.errors import BadConfiguration
from tests.support.processes import bare_environment, megabot

ROOT = Path(__file__).parents[2]


class Newcomer:
    """Somebody in a home of their own, without XDG variables."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {**bare_environment(home), "PATH": "/usr/bin:/bin"}

    def types(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run(megabot(*arguments), **env)

    def run(self, command: list[str], **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env={**self.environment, **env}, capture_output=True, text=True, timeout=30,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    def installs(self, shell: str, *flags: str, **env: str) -> dict[str, Any]:
        done = self.types("completions", "install", shell, "--json", *flags, **env)
        assert done.returncode == 0, done.stderr
        facts: dict[str, Any] = json.loads(done.stdout)
        return facts


@pytest.fixture
def newcomer(tmp_path: Path) -> Newcomer:
    home = tmp_path / "home of somebody"  # with spaces: the lines to add must stand that
    home.mkdir(mode=0o700)
    return Newcomer(home)


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


@pytest.mark.parametrize("shell", FILE_NAMES)
def test_what_is_shown_is_what_is_shipped_and_what_is_installed(
    newcomer: Newcomer, shell: str
) -> None:
    shown = newcomer.types("completions", "show", shell).stdout
    assert shown == (ROOT / "completions" / FILE_NAMES[shell]).read_text()  # type: ignore[index]
    facts = newcomer.installs(shell)
    assert Path(facts["file"]).read_text() == shown
    assert Path(facts["file"]).is_relative_to(newcomer.home)


@pytest.mark.parametrize("shell", FILE_NAMES)
def test_it_can_be_done_again_and_brings_an_old_script_up_to_date(
    newcomer: Newcomer, shell: str
) -> None:
    assert newcomer.installs(shell, "--dry-run")["would_change"] is True
    assert not list(newcomer.home.rglob("*megabot*"))
    first = newcomer.installs(shell)
    assert first["changed"] is True
    again = newcomer.installs(shell)
    assert (again["changed"], again["would_change"]) == (False, False)
    Path(first["file"]).write_text("of an older version")
    assert newcomer.installs(shell)["changed"] is True


@pytest.mark.parametrize("shell", FILE_NAMES)
def test_no_startup_file_is_changed_and_a_line_that_is_there_is_not_asked_for(
    newcomer: Newcomer, shell: str
) -> None:
    facts = newcomer.installs(shell)
    if facts["line"] is None:
        return  # the shell finds it by itself
    rc_file = Path(facts["rc_file"])
    assert not rc_file.exists()
    said = newcomer.types("completions", "install", shell).stderr
    assert f"Add this line to {rc_file}:\n    {facts['line']}\n" in said
    rc_file.parent.mkdir(parents=True, exist_ok=True)
    rc_file.write_text(f"# mine\n{facts['line']}\n")
    assert newcomer.installs(shell)["line"] is None
    assert rc_file.read_text() == f"# mine\n{facts['line']}\n"
    rc_file.write_text(facts["line"].replace(str(newcomer.home), "$HOME"))
    if rc_file.parent == newcomer.home:
        assert newcomer.installs(shell)["line"] is None


def test_the_folders_of_the_environment_count(newcomer: Newcomer, tmp_path: Path) -> None:
    data, config = str(tmp_path / "data"), str(tmp_path / "config")
    for shell in FILE_NAMES:
        facts = newcomer.installs(shell, XDG_DATA_HOME=data, XDG_CONFIG_HOME=config)
        assert facts["file"].startswith((data, config))
    facts = newcomer.installs("zsh", XDG_DATA_HOME="relative", ZDOTDIR=str(tmp_path))
    assert facts["file"].startswith(str(newcomer.home))
    assert facts["rc_file"] == str(tmp_path / ".zshrc")


@pytest.mark.parametrize("environ", [{}, {"HOME": ""}])
def test_without_that_variable_it_goes_where_the_account_has_its_home(
    environ: dict[str, str],
) -> None:
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    assert place_of("fish", environ).file.is_relative_to(home)
    # ... which is where all other commands find it.
    assert find_places(environ).config_file.is_relative_to(home)


def test_an_account_without_a_home_hears_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(number: int) -> NoReturn:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(BadConfiguration, match="home folder") as caught:
        place_of("fish", {})
    assert "completions show" in str(caught.value.hint)


def test_a_folder_that_cannot_be_made_and_a_shell_nobody_knows(newcomer: Newcomer) -> None:
    (newcomer.home / ".config").write_text("a file")
    done = newcomer.types("completions", "install", "fish")
    assert done.returncode == 5
    assert "cannot be written" in done.stderr
    assert newcomer.types("completions", "install", "tcsh").returncode == 2
    assert newcomer.types("completions", "show").returncode == 2


def test_a_link_stays_a_link(newcomer: Newcomer) -> None:
    """As dotfile managers make them."""
    target = newcomer.home / "dotfiles" / "megabot.fish"
    file = newcomer.home / ".config" / "fish" / "completions" / "megabot.fish"
    for path in (target, file):
        path.parent.mkdir(parents=True)
    target.write_text("old")
    file.symlink_to(target)
    assert newcomer.installs("fish")["changed"] is True
    assert file.is_symlink()
    assert "megabot" in target.read_text()
    assert not stat.S_IMODE(target.stat().st_mode) & 0o022


@needs("fish")
def test_fish_finds_it_by_itself(newcomer: Newcomer) -> None:
    newcomer.installs("fish")
    program = newcomer.home / "megabot"  # fish completes only commands that are there
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = f"{newcomer.home}:{newcomer.environment['PATH']}"
    done = newcomer.run(["fish", "-c", 'complete -C "megabot completions inst"'], PATH=path)
    assert done.stdout.partition("\t")[0] == "install"


@needs("zsh")
def test_zsh_finds_it_with_the_line_it_was_told(newcomer: Newcomer) -> None:
    facts = newcomer.installs("zsh")
    (newcomer.home / ".zshrc").write_text(facts["line"] + "\n")
    script = "print -r -- $_comps[megabot]; autoload +X _megabot && whence -w _megabot"
    done = newcomer.run(["zsh", "-ic", script], ZDOTDIR=str(newcomer.home), TERM="dumb")
    assert done.stdout.splitlines()[-2:] == ["_megabot", "_megabot: function"], done.stderr


@needs("bash")
def test_bash_completes_when_the_script_is_read(newcomer: Newcomer) -> None:
    file = newcomer.installs("bash")["file"]
    assert bash_completes(newcomer, f"source '{file}'") == COMPLETED_BY_BASH


@pytest.mark.peer
@pytest.mark.skipif(
    not Path(BASH_COMPLETION[0]).exists(),
    reason="bash-completion not found: `bash .ci/peers` installs it",
)
def test_bash_completion_finds_it_by_itself(tmp_path: Path) -> None:
    newcomer = Newcomer(tmp_path)  # of a home with spaces, version 2.11 makes several folders
    assert newcomer.installs("bash")["line"] is None
    load = "{ _comp_load megabot || _completion_loader megabot; } 2>/dev/null"
    assert bash_completes(newcomer, f"source {BASH_COMPLETION[0]}; {load}") == COMPLETED_BY_BASH


COMPLETED_BY_BASH = ["complete -o default -F _megabot megabot", "install"]


def bash_completes(newcomer: Newcomer, load: str) -> list[str]:
    script = (
        f"{load}; complete -p megabot; COMP_LINE='megabot completions inst';"
        "COMP_POINT=${#COMP_LINE}; _megabot 2>/dev/null; echo ${COMPREPLY[@]}"
    )
    return newcomer.run(["bash", "--norc", "-c", script]).stdout.splitlines()
