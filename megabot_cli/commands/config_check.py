"""`megabot config check`: everything that is wrong, in one go."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.tree import examples, forms
from megabot_cli.errors import BadConfiguration, MegabotError
from megabot_cli.wording import counted

# What stands before the fault: a file with line and column, a variable, a flag.
_PLACE = re.compile(r"(?P<place>\S.*?:\d+(?::\d+)?|MEGABOT_[A-Z0-9_]+|--[a-z-]+): (?P<what>.+)")


@forms("text", "json", "jsonl")
@examples(
    ("megabot config check", "The file, the environment and the profile in force"),
    ("megabot config check ./megabot.yaml", "Another file, before it is used"),
)
def check(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", dir_okay=False, help="A file; else what is in force."),
    ] = None,
) -> None:
    """Say all that is wrong in a file.

    Every fault with the line it is on and, where that can be guessed, what was meant: keys that
    do not exist, values of the wrong kind, addresses, patterns, files, folders and programs
    that are of no use.
    Without FILE the variables of the environment are looked at too. Ends with 12 when something
    is wrong.
    """
    invocation: Invocation = context.obj
    problems = _problems_in(file) if file is not None else _problems_in_force(invocation)
    name = str(file or invocation.places.config_file)
    _show(invocation, name, problems)
    if not problems:
        remarked = file is None and bool(invocation.configuration.remarks)
        _say_that_all_is_well(invocation, file, remarked=remarked)
    else:
        many = counted(len(problems), "problem")
        raise BadConfiguration(f"{name} has {many}" if file else f"The settings have {many}")


def _problems_in(file: Path) -> list[MegabotError]:
    from megabot_cli.commands.named_files import faults_of_named
    from megabot_cli.config.file_layer import in_order, read_liberally
    from megabot_cli.doctor.settings import problems_in_layer

    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return [BadConfiguration(f"There is no file {file}", "Check its name.")]
    except OSError as fault:
        return [BadConfiguration(f"{file} cannot be read: {fault.strerror}", "Check its mode.")]
    except UnicodeDecodeError:
        return [BadConfiguration(f"{file} is no UTF-8 text", "Save it as UTF-8.")]
    layer, broken = read_liberally(text, str(file))
    problems = [*broken, *problems_in_layer(layer, faults_of_named)]
    return in_order(problems, str(file))


def _problems_in_force(invocation: Invocation) -> list[MegabotError]:
    from megabot_cli.commands.diagnosing import read_settings

    found = read_settings(invocation)
    if found.configuration is not None:
        for remark in found.configuration.remarks:
            invocation.console.warn(remark)
    return found.problems


def _show(invocation: Invocation, name: str, problems: list[MegabotError]) -> None:
    rows = [_row(each) for each in problems]
    if invocation.output == "json":
        shown = {"file": name, "ok": not rows, "problems": rows}
        invocation.console.json(shown, indent=invocation.indent)
    elif invocation.output == "jsonl":
        for row in rows:
            invocation.console.json(row)
    else:
        for each in problems:
            _print(invocation, each)


def _say_that_all_is_well(invocation: Invocation, file: Path | None, *, remarked: bool) -> None:
    nothing = "nothing else" if remarked else "nothing"
    own = invocation.places.config_file
    if file is None and not own.exists():
        what = f"{nothing} is wrong in the defaults and the environment"
        invocation.console.note(f"There is no {own}; {what}.")
    elif invocation.output == "text":
        invocation.console.note(f"{nothing.capitalize()} is wrong in {file or own}.")


def _row(problem: MegabotError) -> dict[str, str | None]:
    placed = _PLACE.fullmatch(problem.message)
    return {
        "place": placed["place"] if placed else None,
        "message": placed["what"] if placed else problem.message,
        "fix": problem.hint,
    }


def _print(invocation: Invocation, problem: MegabotError) -> None:
    from megabot_cli.terminal.text import safe_line

    console = invocation.console
    row = _row(problem)
    place = f"{console.paint(safe_line(str(row['place'])), 'bold')}: " if row["place"] else ""
    console.line(f"{place}{safe_line(str(row['message']))}")
    if row["fix"]:
        console.line(f"    {console.paint('→', 'bold')} {safe_line(row['fix'])}")
