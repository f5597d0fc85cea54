"""Have the shell complete commands, options and values.

The scripts are static: a TAB starts no Python.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.shells.scripts import Shell
from megabot_cli.commands.tree import examples, forms

if TYPE_CHECKING:
    from megabot_cli.commands.shells.scripts import Place

EXAMPLES = (
    ("megabot completions install zsh", "Put it where the shell looks"),
    ("megabot completions show fish", "Only print the script"),
)

WhichShell = Annotated[Shell, typer.Argument(metavar="SHELL", help="The shell to complete in.")]


@forms("text")
@examples(
    (
        "megabot completions show bash > /etc/bash_completion.d/megabot",
        "For everybody on this machine, as root",
    ),
    ("megabot completions show fish | less", "What would be installed"),
)
def show(context: typer.Context, shell: WhichShell) -> None:
    """Print a shell's completion script."""
    invocation: Invocation = context.obj
    invocation.console.stream(_script(shell))


@forms("text", "json")
@examples(
    ("megabot completions install zsh", "For you alone; says what ~/.zshrc needs, if anything"),
    ("megabot completions install bash --dry-run", "Only say what would be done"),
)
def install(
    context: typer.Context,
    shell: WhichShell,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
) -> None:
    """Put a completion script where the shell finds it.

    For you alone, without root: where the XDG folders are. If the shell must be told where that
    is, the line to add is printed; no startup file is ever changed. Doing it again brings the
    script up to date.
    """
    from megabot_cli.commands.shells.scripts import place_of

    invocation: Invocation = context.obj
    place = place_of(shell, invocation.environ)
    script = _script(shell)
    changed = _read(place.file) != script
    if changed and not dry_run:
        _write(place.file, script)
    _report(invocation, place, changed=changed, dry_run=dry_run)


def _script(shell: Shell) -> str:
    from megabot_cli.app import build
    from megabot_cli.commands.outline import outline
    from megabot_cli.commands.shells.scripts import script_of

    return script_of(shell, outline(build()))


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _write(path: Path, script: str) -> None:
    from megabot_cli.errors import NotPermitted
    from megabot_cli.storage.private_files import replace_private

    try:
        replace_private(path.resolve(), script.encode())  # where it is a link, it stays one
    except OSError as fault:
        raise NotPermitted(
            f"{path} cannot be written: {fault.strerror or fault}",
            "`megabot completions show SHELL` prints the script, to be put elsewhere.",
        ) from None


def _report(invocation: Invocation, place: Place, *, changed: bool, dry_run: bool) -> None:
    needed = None if _is_said(place) else place.line
    if invocation.output == "json":
        facts = {
            "file": str(place.file),
            "changed": changed and not dry_run,
            "would_change": changed,
            "rc_file": str(place.rc_file) if needed else None,
            "line": needed,
        }
        invocation.console.json(facts)
        return
    console = invocation.console
    if not changed:
        console.note("The script is there already, and up to date:")
    elif dry_run:
        console.note("The script would be written to:")
    else:
        console.note("The script is in:")
    console.line(str(place.file))
    if needed is not None:
        console.note(f"Add this line to {place.rc_file}:\n    {needed}")
    if changed and not dry_run:
        console.note("It counts from the next shell on.")


def _is_said(place: Place) -> bool:
    """Whether the startup file names the script, or its folder, already."""
    if place.line is None or place.rc_file is None:
        return True
    said = _read(place.rc_file) or ""
    home = str(place.rc_file.parent)
    for each in (place.file, place.file.parent):
        below_home = str(each).removeprefix(f"{home}/")
        names = (str(each), f"~/{below_home}", f"$HOME/{below_home}", f"${{HOME}}/{below_home}")
        if any(name in said for name in names):
            return True
    return False
