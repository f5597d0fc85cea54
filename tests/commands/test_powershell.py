"""PowerShell's script: read by a grammar of PowerShell, held to the command tree, and run where
there is a `pwsh`. No package that the tests may install brings one, so the rules it is written
to stand beside it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tree_sitter
import tree_sitter_powershell

from megabot_cli.app import build
from megabot_cli.commands.outline import Argument, Option, Outline, outline
from megabot_cli.commands.places import find_places
from megabot_cli.commands.shells.words import all_options, fixed_words
from tests.commands.test_generate import CONFIG, TcpRelay, UnixRelay, a_home_with, a_relay_of, needs

SCRIPT = Path(__file__).parents[2] / "completions" / "megabot.ps1"
TEXT = SCRIPT.read_text(encoding="ascii")
needs_pwsh = pytest.mark.skipif(
    shutil.which("pwsh") is None,
    reason="NOT RUN IN POWERSHELL: pwsh is not on PATH, and no package registry has it",
)


def table() -> dict[str, Any]:
    """What the script knows of the commands."""
    found: dict[str, Any] = json.loads(TEXT.partition("@'\n")[2].partition("\n'@")[0])
    return found


@pytest.fixture(scope="module")
def root() -> Outline:
    return outline(build())


def faults_in(node: tree_sitter.Node) -> Iterator[str]:
    if node.is_error or node.is_missing:
        yield f"line {node.start_point.row + 1}: {node.type}"
    for child in node.children:
        yield from faults_in(child)


def test_the_script_is_powershell() -> None:
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
    assert list(faults_in(parser.parse(TEXT.encode()).root_node)) == []
    broken = TEXT.replace("function Get-Plain($text) {", "function Get-Plain($text) ", 1)
    assert list(faults_in(parser.parse(broken.encode()).root_node)) != []


def test_powershell_can_read_the_table_in_its_script() -> None:
    """To version 5.1 names that differ in capitals alone are one; an empty help is refused."""

    def names_in(value: Any) -> Iterator[list[str]]:
        if isinstance(value, dict):
            yield [name.lower() for name in value]
        for each in value.values() if isinstance(value, dict) else value:
            if isinstance(each, dict | list):
                yield from names_in(each)

    assert all(len(set(names)) == len(names) for names in names_in(table()))
    for entry in table()["commands"].values():
        for each in (*entry["commands"], *entry["options"], *table()["everywhere"]):
            assert each["help"]


def test_every_command_option_and_value_of_the_tree_is_in_the_script(root: Outline) -> None:
    found = table()
    for command in root.walk():
        entry = found["commands"][" ".join(command.path)]
        below = {
            (name, " ".join(child.path), child.line)
            for child in command.children
            for name in (child.path[-1], *child.aliases)
        }
        assert {(each["name"], each["path"], each["help"]) for each in entry["commands"]} == below
        options = {name: each for each in found["everywhere"] for name in each["names"]}
        options |= {name: each for each in entry["options"] for name in each["names"]}
        assert {*options} == {name for each in all_options(command) for name in each.names}
        for option in all_options(command):
            for name in option.names:
                assert options[name]["takes"] is (option.takes is not None)
                assert_offers(options[name], option)
        assert len(entry["arguments"]) == len(command.arguments)
        for told, argument in zip(entry["arguments"], command.arguments, strict=True):
            assert told["repeats"] is argument.repeats
            assert_offers(told, argument)
    assert len(found["commands"]) == len(list(root.walk()))


def assert_offers(told: dict[str, Any], what: Option | Argument) -> None:
    assert told["words"] == list(fixed_words(what))
    assert (told["kept"], told["help"]) == (what.completes, what.help)


def test_the_script_knows_each_kind_of_value_there_is(root: Outline) -> None:
    kinds: set[str] = set()
    for command in root.walk():
        kinds |= {each.completes for each in command.arguments}
        kinds |= {each.completes for each in all_options(command)}
    asked = set(re.findall(r"^            '(\w+)' \{ \$names", TEXT, re.MULTILINE))
    files = re.search(r"@\(([^)]*)\) -ccontains \$what\.kept", TEXT)
    assert files is not None
    assert asked | set(re.findall(r"'(\w+)'", files[1])) | {"nothing"} >= kinds


def test_it_looks_where_the_program_puts_things(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of this system's places those that the script spells out for it."""
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    below_home = dict(re.findall(r"Get-Folder '(\w+)' '([\w./]+)'", TEXT))
    places = find_places({})
    assert places.data == tmp_path / below_home["XDG_DATA_HOME"] / "megabot"
    assert places.state == tmp_path / below_home["XDG_STATE_HOME"] / "megabot"
    assert places.config_file == tmp_path / below_home["XDG_CONFIG_HOME"] / "megabot/config.yaml"
    at_home = find_places({"MEGABOT_HOME": "/h"})
    for path, text in (
        (at_home.recordings, '"$(Get-DataFolder)/recordings"'),
        (at_home.credentials, '"$(Get-DataFolder)/credentials"'),
        (at_home.run, '"$folder/run"'),
    ):
        assert text.strip('"').rpartition("/")[2] == path.name
        assert text in TEXT
    assert '"$env:MEGABOT_HOME/state"' in TEXT
    assert at_home.run.parent == Path("/h/state")


@needs("curl")
@pytest.mark.parametrize("kind", [TcpRelay, UnixRelay])
def test_a_running_relay_answers_what_the_script_asks(tmp_path: Path, kind: type[TcpRelay]) -> None:
    """With the words of the script, its names for what it read filled in by hand."""
    (called,) = re.findall(r"\$asked \| & \$curl\.Path (.*) 2>\$null", TEXT)
    (pattern,) = re.findall(r"""\[regex\]::Matches\("\$reply", '(.*)'\)""", TEXT)
    lines = [
        each.replace('`"', '"')
        for each in re.findall(r"""\$asked \+?= @?\(?["'](.*)["']\)?$""", TEXT, re.MULTILINE)
    ]
    with a_relay_of(tmp_path, kind, ["sess_1", "$(found)", "sess_2"]) as relay:
        over_unix = relay.admin_url.startswith("unix:")
        assert len(lines) == 4  # a socket, what to ask of it, or an address; then the token
        asked = "\n".join(lines[:2] + lines[3:] if over_unix else lines[2:])
        asked = asked.replace("$($Matches[1])", relay.admin_url.removeprefix("unix:"))
        asked = asked.replace("$($facts.admin_url)", relay.admin_url).replace("$key", "the-token")
        assert "$" not in asked
        done = subprocess.run(
            ["curl", *re.findall(r"'([^']*)'", called)],
            input=asked + "\n", capture_output=True, text=True, check=True, timeout=30,
        )  # fmt: skip
    assert re.findall(pattern, done.stdout) == ["sess_1", "sess_2"]


@needs_pwsh
def test_powershell_offers_the_sessions_of_a_running_relay(tmp_path: Path) -> None:
    with a_relay_of(a_home_with(tmp_path), UnixRelay, ["sess_1", "$(found)", "other"]):
        assert {*pwsh_completes("megabot send --session se", tmp_path)} == {"sess_1"}


def pwsh_completes(line: str, home: Path) -> dict[str, str]:
    """What PowerShell would put in place of the last word, and what it says of it."""
    script = (
        f"$ErrorActionPreference = 'Stop'; . '{SCRIPT}'; $line = $env:LINE;"
        "[System.Management.Automation.CommandCompletion]::CompleteInput("
        "$line, $line.Length, $null).CompletionMatches |"
        'ForEach-Object { $_.CompletionText + "`t" + $_.ToolTip }'
    )
    done = subprocess.run(
        ["pwsh", "-NoProfile", "-NonInteractive", "-Command", script],
        capture_output=True, text=True, check=True, cwd=home / "credentials",
        env={"PATH": "/usr/bin:/bin:" + str(Path(shutil.which("pwsh") or "").parent),
             "HOME": str(home), "MEGABOT_HOME": str(home), "LINE": line},
    )  # fmt: skip
    assert done.stderr == ""
    found = (each.partition("\t") for each in done.stdout.splitlines())
    return {text: help_text for text, _, help_text in found}


@needs_pwsh
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("megabot se", {"send"}),
        ("megabot re", {"relay", "replay", "recordings", "rec"}),
        ("megabot rec ver", {"verify"}),
        ("megabot send --no-s", {"--no-stream"}),
        ("megabot -p login tail --direction to_u", {"to_upstream"}),
        ("megabot tail --direction=to_u", {"--direction=to_upstream"}),
        ("megabot --color=n tail", {"tail"}),
        ("megabot tail -o ra", {"raw"}),
        ("megabot -o js", {"json", "jsonl"}),
        ("megabot send --wait type:chat_st", {"type:chat_stream"}),
        ("megabot tail -p ", {"staging", "local", "quoted-1"}),
        ("megabot --profile=st", {"--profile=staging"}),
        ("megabot rec diff last rec_1", {"rec_1"}),
        ("megabot rec cut 'rec w", {"'rec with blanks'"}),
        ("megabot send hel", {"hel"}),
    ],
)
def test_powershell_completes(line: str, offered: set[str], tmp_path: Path) -> None:
    (a_home_with(tmp_path) / "config.yaml").write_text(CONFIG)
    (tmp_path / "recordings" / "rec with blanks").mkdir()
    found = pwsh_completes(line, tmp_path)
    assert {*found} == offered
    assert all(found.values())
