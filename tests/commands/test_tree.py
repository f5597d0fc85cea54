"""The table of commands, and what Typer makes of it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from megabot_cli.app import build
from megabot_cli.commands.front_page import EVERYWHERE, front_page
from megabot_cli.commands.global_options import global_options
from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.other_names import MEANT
from megabot_cli.commands.outline import Outline, everywhere, outline
from megabot_cli.commands.table import COMMANDS, Entry
from megabot_cli.commands.tree import load_entry

SINGLE_LETTERS = set("poqvhVykHstdnfierx")
ROOT = outline(build())


def leaves(entries: tuple[Entry, ...] = COMMANDS) -> Iterator[Entry]:
    for entry in entries:
        yield from leaves(entry.children) if entry.children else (entry,)


def parse(*arguments: str) -> Invocation:
    """Parse a command line without running the command."""
    invocation: Invocation = parsed(*arguments).obj
    return invocation


def parsed(*arguments: str) -> Any:
    """What Typer knows of a command once its line is parsed; `params` are its values."""
    context: Any = build().make_context("megabot", list(arguments), obj=Invocation({}))
    while context.command.name in ("megabot", "recordings", "config", "completions"):
        name, command, rest = context.command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        context = command.make_context(name, rest, parent=context)
    return context


@pytest.mark.parametrize("entry", list(leaves()), ids=lambda entry: entry.body)
def test_the_table_says_what_the_command_says_of_itself(entry: Entry) -> None:
    first_line = (load_entry(entry).help or "").strip().splitlines()[0]
    assert first_line == entry.help or entry.help.rstrip(".") in first_line


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from megabot_cli import app; app.main(['--help']);"
        "print([m for m in ('aiohttp', 'rich', 'structlog', 'msgspec', 'asyncio', 'yaml')"
        " if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    for entry in COMMANDS:
        assert f"  {entry.name}" in done.stdout
        assert entry.help in done.stdout


@pytest.mark.parametrize("arguments", [["-V"], ["--version"], ["-h"], ["--help"], []])
def test_version_and_help_alone_need_nothing_at_all(arguments: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['megabot', *{arguments}];"
        "from megabot_cli.__main__ import main; main();"
        "print([m for m in ('typer', 'megabot_cli.app', 'dataclasses') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    text, _, imported = done.stdout.strip().rpartition("\n")
    assert imported == "[]"
    assert re.fullmatch(r"megabot \d+\.\d+\.\d+", text) or text.startswith("Usage: megabot ")


@pytest.mark.parametrize("columns", ["20", "60", "80", "200"])
def test_help_alone_is_the_help_that_there_is(columns: str) -> None:
    command = [sys.executable, "-m", "megabot_cli"]
    env = {**os.environ, "COLUMNS": columns}
    alone, not_alone, nothing = (
        subprocess.check_output([*command, *more], env=env, text=True)
        for more in (["--help"], ["-q", "--help"], [])
    )
    assert alone == not_alone == nothing
    written = max(len(each) for _, each, _ in EVERYWHERE) + 2
    assert max(map(len, told(alone))) <= max(int(columns), written)


@pytest.mark.parametrize("line", ["send", "tail", "replay", "relay", "recordings", "config show"])
def test_help_fits_a_narrow_terminal(line: str) -> None:
    shown = subprocess.check_output(
        [sys.executable, "-m", "megabot_cli", *line.split(), "--help"],
        env={**os.environ, "COLUMNS": "40"}, text=True,
    )  # fmt: skip
    assert max(map(len, told(shown))) <= 40
    assert "…" not in shown


def told(page: str) -> list[str]:
    """Its lines without the examples, which are to be copied as they are."""
    before, _, after = page.partition("Examples:\n")
    return [*before.splitlines(), *after.partition("\n\n")[2].splitlines()]


def test_the_front_page_has_the_global_options_as_they_are() -> None:
    context: Any = build().make_context("megabot", ["x"], obj=Invocation({}))
    records = {each.name: each.get_help_record(context) for each in global_options()}
    assert [(name, (written, meaning)) for name, written, meaning in EVERYWHERE] == [
        *records.items()
    ]
    assert "--log-format <auto|console|json>\n" in front_page(80)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_what_is_known_at_once_and_cannot_be_written_is_told(argument: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "megabot_cli", argument],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: Could not write the result: No space left on device\n")


def test_global_options_work_before_and_after_the_command() -> None:
    before = parse("-p", "staging", "--url", "ws://x/ws", "-v", "--json", "whoami")
    after = parse("whoami", "-p", "staging", "--url", "ws://x/ws", "-v", "--json")
    assert before.options == after.options
    assert before.options.profile == "staging"
    assert before.options.wants_json


def test_the_option_nearer_to_the_command_wins() -> None:
    assert parse("-p", "one", "whoami", "-p", "two").options.profile == "two"
    assert parse("-v", "recordings", "-v", "list", "-v").options.verbosity == 3


def test_an_alias_is_the_same_command() -> None:
    assert parse("rec", "list", "--json").options.wants_json


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["sned"], "Did you mean 'send'?"),
        (["recordings", "lst"], "Did you mean 'list'?"),
        (["zzz"], "There is no command 'zzz'."),
        (["gateway", "usrs"], "Did you mean 'users'?"),
        (["gateway", "--listen", ":0", "usrs", "--", "true"], "Did you mean 'users'?"),
        (["gateway", "--listen", ":0", "echo", "hi"], "what is to be run stands after `--`"),
        (["gateway", "-v", "--listen", ":0", "users"], "`megabot gateway users`"),
        (["relay", "stauts"], "Did you mean 'status'?"),
        (["relay", "--no-record", "zzz"], "There is no command 'zzz'."),
        (["logs"], "Did you mean `megabot tail`?"),
        (["relay", "stop"], "Did you mean `megabot relay drain`?"),
        (["rec", "redact", "last"], "Did you mean `megabot recordings sanitize`?"),
        (["gateway", "start"], "Did you mean `megabot gateway`?"),
        (["config", "show", "extra", "words"], "unexpected extra argument"),
        (["replay"], "Missing argument 'RECORDING'"),
        (["login", "--storage", "cloud"], "'auto', 'keyring', 'file', 'none'"),
        (["send", "x", "--timeout", "soon"], "write 500ms, 10s, 5m, 2h or 1d"),
    ],
)
def test_wrong_usage_is_told_with_a_guess(line: list[str], says: str) -> None:
    with pytest.raises(typer.TyperException) as caught:
        parse(*line)
    assert says in caught.value.format_message()
    assert caught.value.exit_code == 2


def test_what_others_call_a_command_leads_to_one_that_there_is() -> None:
    known = {" ".join(each.path): each for each in commands()}
    for below, names in MEANT.items():
        taken = {each.path[-1] for each in commands() if below in each.path[-2:-1]}
        assert taken.isdisjoint(names), below
        for line in names.values():
            words, _, option = line.partition(" --")
            assert words in known, line
            assert not option or f"--{option}" in names_of(known[words]), line


def test_the_letters_that_every_tool_has_mean_here_what_they_mean_there() -> None:
    known = {" ".join(each.path): each for each in commands()}
    assert "-f" in names_of(known["megabot tail"])
    assert "-f" in names_of(known["megabot send"])
    assert "-k" in names_of(known["megabot relay"])


def test_a_misspelt_option_is_told_with_a_guess() -> None:
    with pytest.raises(typer.TyperException) as caught:
        parse("send", "--timout", "3s", "x")
    assert "--timeout" in caught.value.format_message()


def commands() -> list[Outline]:
    return list(ROOT.walk())


def names_of(command: Outline) -> set[str]:
    """All names of all options that it takes."""
    return {name for option in (*command.options, *everywhere()) for name in option.names}


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.dashed)
def test_every_option_and_argument_says_what_it_is_for(command: Outline) -> None:
    for option in (*command.options, *everywhere()):
        assert option.help.partition("  [")[0].endswith((".", "].")), option.names
    for argument in command.arguments:
        assert argument.help.endswith("."), argument.name


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.dashed)
def test_single_letters_mean_the_same_everywhere(command: Outline) -> None:
    options = (*command.options, *everywhere())
    letters = [name[1] for each in options for name in each.names if len(name) == 2]
    assert set(letters) <= SINGLE_LETTERS
    assert len(set(letters)) == len(letters)


def example_lines() -> list[str]:
    return [example.line for command in commands() for example in command.examples]


def test_every_command_has_an_example() -> None:
    without = {command.dashed for command in commands() if not command.examples}
    assert without <= {"megabot-demo"}


@pytest.mark.parametrize("line", example_lines())
def test_every_example_is_a_command_line_we_take(line: str) -> None:
    """The part from `megabot` to the next pipe or redirection."""
    ours = line[re.search(r"megabot (?=[a-z-])", line).end() :]  # type: ignore[union-attr]
    ours = ours.partition(')"')[0].partition(") ")[0]
    words = shlex.split(ours)
    stop = next((n for n, word in enumerate(words) if word in ("|", "<", ">")), len(words))
    parse(*words[:stop])


def test_no_command_takes_a_secret_in_its_arguments() -> None:
    names = {name for each in commands() for option in each.options for name in option.names}
    assert not {name for name in names if re.search("(password|secret|api-key|token)$", name)} - {
        "--require-token"
    }


def test_no_parameter_of_a_command_takes_the_place_of_a_global_option() -> None:
    """Two of one name are one value: `bench [URL]` did away with `--url`."""
    for entry in leaves():
        names = [each.name for each in load_entry(entry).params]
        assert len(set(names)) == len(names), entry.body


@pytest.mark.parametrize(
    ("words", "around", "recordings"),
    [
        ([], None, None),
        (["--around"], 5, None),
        (["--around", "3"], 3, None),
        (["--around=3"], 3, None),
        (["--around", "3", "last"], 3, ["last"]),
        (["--around", "last"], 5, ["last"]),
        (["--around", "3x"], 5, ["3x"]),
        (["last", "--around", "--", "3"], 5, ["last", "3"]),
        (["last", "--", "--around"], None, ["last", "--around"]),
        (["--around", "--direction", "to_client", "last"], 5, ["last"]),
        (["-t", "--around", "last"], None, ["last"]),
        (["--around", "2", "--around"], 5, None),
    ],
)
def test_the_number_of_around_may_be_left_out(
    words: list[str], around: int | None, recordings: list[str] | None
) -> None:
    given = parsed("recordings", "grep", "pattern", *words).params
    assert (given["around"], list(given["recordings"])) == (around, recordings or [])


@pytest.mark.parametrize("words", [["--around", "-1"], ["--around=x"], ["--around", "9" * 30]])
def test_a_number_that_is_none_is_told(words: list[str]) -> None:
    with pytest.raises(typer.BadParameter, match=re.escape(words[-1].removeprefix("--around="))):
        parsed("tail", *words)


def test_every_command_with_around_takes_it_alone() -> None:
    of_around = {
        each.dashed: option.may_stand_alone
        for each in commands()
        for option in each.options
        if "--around" in option.names
    }
    assert len(of_around) == 9
    assert set(of_around.values()) == {True}
