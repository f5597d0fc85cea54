"""One run of the program, and the one place where its errors end.

Bodies of commands are imported when they are called. `main` turns whatever a command raises
into one message on stderr and one exit code.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from itertools import pairwise

import typer

from megabot_cli.client.late_trust import read_certificates_late
from megabot_cli.commands.front_page import EXAMPLES
from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.running import Interrupted, raising_on_signals
from megabot_cli.commands.table import ABOUT, COMMANDS
from megabot_cli.commands.tree import Example, Group
from megabot_cli.errors import MegabotError, WrongUsage
from megabot_cli.terminal.console import (
    ReaderGone,
    abandon_stdout,
    cannot_write,
    reader_is_gone,
)

_IN_OUR_WORDS = (
    (re.compile(r"is not a valid int(eger)?( range)?(?=\.|$)"), "is no whole number"),
    (re.compile(r"is not a valid float( range)?(?=\.|$)"), "is no number"),
    (re.compile(r"is not in the range x>=(\S+?)(?=\.?$)"), r"is less than \1"),
    (re.compile(r"is not in the range x<=(\S+?)(?=\.?$)"), r"is more than \1"),
    (re.compile(r"is not in the range (\S+)<=x<=(\S+?)(?=\.?$)"), r"is not from \1 to \2"),
)
# Typer keeps the word that was typed in its message alone.
_NO_CHOICE = re.compile(r"'(?P<word>.*)' is not one of ", re.DOTALL)

# Letters of a word in which two may be wrong: `--sesion` is no slip for `--version`.
_LONG = 8


def build() -> Group:
    """The whole command tree, nothing of it imported yet."""
    root = Group(COMMANDS, name="megabot", help=ABOUT, rich_markup_mode=None)
    root.examples = tuple(Example(*pair) for pair in EXAMPLES)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; the message of a failure is on stderr."""
    given = [_in_utf8(each) for each in (sys.argv[1:] if arguments is None else arguments)]
    _reopen_closed_streams()
    read_certificates_late()
    if given[:1] == ["help"]:  # as others have it
        given = [*given[1:], "--help"]
    invocation = Invocation(os.environ)
    try:
        with raising_on_signals():
            return _run(invocation, given)
    except KeyboardInterrupt:
        return 130
    except Interrupted as stop:
        return 128 + stop.number


def _run(invocation: Invocation, arguments: list[str]) -> int:
    try:
        code = _call(invocation, arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except Exception as fault:
        return _end(invocation, arguments, _innermost(fault))
    return code


def _call(invocation: Invocation, arguments: list[str]) -> int:
    """Parse and hand over. Typer's own `main` would turn a closed pipe into a failure.

    Typer takes apart the list it is given; `arguments` are asked again where it fails.
    """
    tree = build()
    try:
        with tree.make_context("megabot", list(arguments), obj=invocation) as context:
            tree.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    return 0


def _innermost(fault: BaseException) -> BaseException:
    """Of several faults at once, the one that says most: ours before those of libraries."""
    if not isinstance(fault, BaseExceptionGroup):
        return fault
    faults = [_innermost(each) for each in fault.exceptions]
    return next((each for each in faults if isinstance(each, MegabotError | ReaderGone)), faults[0])


def _end(invocation: Invocation, arguments: list[str], fault: BaseException) -> int:
    """Report a fault and return its exit code."""
    if isinstance(fault, ReaderGone) or (isinstance(fault, BrokenPipeError) and reader_is_gone()):
        abandon_stdout()
        return 0
    if "--debug" in _before_dashes(arguments):
        import traceback

        traceback.print_exception(fault)
    error = _as_megabot_error(fault)
    exit_code = fault.exit_code if isinstance(fault, typer.TyperException) else error.exit_code
    if _wants_json(invocation, arguments):
        report = _json_report(error, exit_code)
    else:
        report = _text_report(invocation, error)
    invocation.console.error_line(report)
    if isinstance(fault, OSError):
        abandon_stdout()  # what could not be written stays in its buffer, and would fail again
    return exit_code


def _as_megabot_error(fault: BaseException) -> MegabotError:
    if isinstance(fault, MegabotError):
        return fault
    if isinstance(fault, typer.TyperException):
        return _usage_error(fault)
    if isinstance(fault, OSError) and fault.filename is None and fault.errno is not None:
        return cannot_write(fault)
    if isinstance(fault, OSError):
        return MegabotError(f"{fault.strerror or fault}: {fault.filename}")
    return MegabotError(
        f"Something broke inside megabot ({type(fault).__name__}: {fault})",
        "The same command with --debug shows where.",
    )


def _usage_error(fault: typer.TyperException) -> WrongUsage:
    context = getattr(fault, "ctx", None)
    possible = getattr(fault, "possibilities", None)
    if possible is not None:
        meant = _nearest(str(getattr(fault, "option_name", "")), possible)
        message = fault.message
        if meant:
            message += f". Did you mean {' or '.join(meant)}?"
    else:
        message = " ".join(fault.format_message().split())  # choices come one a line
        for theirs, ours in _IN_OUR_WORDS:
            message = theirs.sub(ours, message)
    path = context.command_path if context is not None else "megabot"
    hint = f"`{path} --help` shows what there is."
    command = getattr(context, "command", None)
    if "unexpected extra argument" in message:
        takes_text = any(
            each.param_type_name == "argument" and "TEXT" in str(each.metavar)
            for each in getattr(command, "params", ())
        )
        quoted = f"Words that belong together want quotes; {hint}"  # `send hello world`
        hint = getattr(command, "takes_no_more", None) or (quoted if takes_text else hint)
    elif message.startswith("Missing ") and (shown := getattr(command, "examples", ())):
        hint = f"As in `{shown[0].line}`; {hint}"
    return WrongUsage(message, _meant(fault) or hint)


def _nearest(typed: str, possible: Sequence[str]) -> list[str]:
    """Those that begin as was typed; else the one that is a slip of the finger away, if any."""
    from megabot_cli.config.spelling import slips

    begin = sorted(each for each in possible if each.startswith(typed))
    most = 1 if len(typed.strip("-")) < _LONG else 2
    near = [each for each in possible if slips(typed, each) <= most]
    return begin or sorted(near, key=lambda each: slips(typed, each))[:1]


def _meant(fault: typer.TyperException) -> str | None:
    """A guess, where one of a few words was asked for."""
    from megabot_cli.config.spelling import did_you_mean

    choices = getattr(getattr(getattr(fault, "param", None), "type", None), "choices", None)
    typed = _NO_CHOICE.match(fault.message)
    return did_you_mean(typed["word"], map(str, choices)) if choices and typed else None


def _text_report(invocation: Invocation, error: MegabotError) -> str:
    from megabot_cli.terminal.text import safe_line

    console = invocation.console
    lines = [console.sentence(_sentence(error), "error:", "bold", "red")]
    if error.hint:
        lines.append(console.sentence(safe_line(error.hint), "hint:", "bold"))
    return "\n".join(lines)


def _sentence(error: MegabotError) -> str:
    """The message as a line of its own, which no full stop ends."""
    return error.message.removesuffix(".")


def _json_report(error: MegabotError, exit_code: int) -> str:
    import json

    from megabot_cli.terminal.text import safe_json

    facts = {
        "code": error.code,
        "exit": exit_code,
        "message": error.message,
        "hint": error.hint,
        "retryable": error.retryable,
        "retry_after_s": error.retry_after_s,
        "close_code": error.close_code,
    }
    return safe_json(json.dumps({"error": facts}, ensure_ascii=False))


def _before_dashes(arguments: list[str]) -> list[str]:
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


def _wants_json(invocation: Invocation, arguments: list[str]) -> bool:
    """Whether errors are to be JSON; a command line that could not be parsed is asked itself."""
    if invocation.options.wants_json:
        return True
    forms = {"--json", "--jsonl", "-ojson", "-ojsonl", "--output=json", "--output=jsonl"}
    ours = _before_dashes(arguments)
    pairs = pairwise(ours)
    return not forms.isdisjoint(ours) or any(
        name in ("-o", "--output") and form in ("json", "jsonl") for name, form in pairs
    )


def _in_utf8(argument: str) -> str:
    """An argument as it was typed: a locale that knows ASCII only reads the rest as surrogates."""
    try:
        return os.fsencode(argument).decode()
    except UnicodeError:
        return argument


def _reopen_closed_streams() -> None:
    """Give descriptors 0 to 2 a meaning, or the first socket opened would become stdout."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free: this one
