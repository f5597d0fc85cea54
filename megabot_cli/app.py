"""Every command in the order `--help` shows them, and the one place where errors end.

Bodies are imported when they are called. `main` turns whatever a command raises into one
message on stderr and one exit code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from itertools import pairwise

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.running import Interrupted, raising_on_signals
from megabot_cli.commands.tree import Entry, Group
from megabot_cli.errors import MegabotError, WrongUsage
from megabot_cli.terminal.console import (
    ReaderGone,
    abandon_stdout,
    cannot_write,
    reader_is_gone,
)

_AT = "megabot_cli.commands"
START = "Start here"
TALK = "Talk"
WATCH = "Record and replay"
RUN = "Run"
SET_UP = "Set up"

COMMANDS = (
    Entry("demo", "Show the whole product at work, by itself.", f"{_AT}.demo:demo", START),
    Entry("login", "Prove who you are and keep the credential.", f"{_AT}.login:login", START),
    Entry("logout", "Forget the credential of a profile.", f"{_AT}.logout:logout", START),
    Entry("whoami", "Say who you are, where, and until when.", f"{_AT}.whoami:whoami", START),
    Entry("token", "Print a valid token for scripts.", f"{_AT}.token:token", START),
    Entry("send", "Send a message and print the answer.", f"{_AT}.send:send", TALK),
    Entry("tool", "Have MegaBot run a tool and print its result.", f"{_AT}.tool:tool", TALK),
    Entry("chat", "Talk with MegaBot, line by line.", f"{_AT}.chat:chat", TALK),
    Entry("tail", "Show messages as they pass.", f"{_AT}.tail:tail", TALK),
    Entry(
        "relay",
        "Share upstream links among local programs.",
        f"{_AT}.relay:relay",
        RUN,
        children=(
            Entry("status", "How the running relay is.", f"{_AT}.relay_control:status"),
            Entry("clients", "Who is connected to it.", f"{_AT}.relay_control:clients"),
            Entry("sessions", "Its sessions and their links.", f"{_AT}.relay_control:sessions"),
            Entry("top", "Watch it work, live.", f"{_AT}.relay_control:top"),
            Entry("close", "Close a client, session or link.", f"{_AT}.relay_control:close"),
            Entry("drain", "Let work finish, then stop it.", f"{_AT}.relay_control:drain"),
            Entry("reauth", "Have it read its credential anew.", f"{_AT}.relay_control:reauth"),
            Entry("reload", "Have it read its configuration anew.", f"{_AT}.relay_control:reload"),
            Entry("mark", "Put a mark into the recording.", f"{_AT}.relay_control:mark"),
            Entry("level", "Set how much it logs.", f"{_AT}.relay_control:level"),
            Entry("dump", "Write out the flight recorder.", f"{_AT}.relay_control:dump"),
        ),
    ),
    Entry(
        "gateway",
        "Be MegaBot on this machine.",
        f"{_AT}.gateway:gateway",
        RUN,
        children=(
            Entry(
                "users",
                "Who may log in at a gateway with --data.",
                f"{_AT}.gateway_users",
                children=(
                    Entry("list", "List the users.", f"{_AT}.gateway_users:list_users"),
                    Entry("add", "Make a user.", f"{_AT}.gateway_users:add"),
                    Entry("password", "Change a password.", f"{_AT}.gateway_users:password"),
                    Entry("remove", "Remove a user.", f"{_AT}.gateway_users:remove"),
                ),
            ),
            Entry(
                "keys",
                "API keys of a gateway with --data.",
                f"{_AT}.gateway_keys",
                children=(
                    Entry("list", "List the API keys.", f"{_AT}.gateway_keys:list_keys"),
                    Entry("add", "Make an API key.", f"{_AT}.gateway_keys:add"),
                    Entry("revoke", "Revoke an API key.", f"{_AT}.gateway_keys:revoke"),
                ),
            ),
        ),
    ),
    Entry("replay", "Send a recording again and compare.", f"{_AT}.replay:replay", WATCH),
    Entry(
        "recordings",
        "List, show and verify recordings.",
        f"{_AT}.recordings",
        WATCH,
        children=(
            Entry("list", "List the recordings there are.", f"{_AT}.recordings:list_recordings"),
            Entry("show", "Show what is in a recording.", f"{_AT}.recordings:show"),
            Entry("stats", "Count what is in a recording.", f"{_AT}.recordings_stats:stats"),
            Entry("grep", "Find messages in recordings.", f"{_AT}.recordings_grep:grep"),
            Entry("diff", "Say how two recordings differ.", f"{_AT}.recordings_diff:diff"),
            Entry(
                "prune",
                "Remove recordings that have been kept long enough.",
                f"{_AT}.recordings_prune:prune",
            ),
            Entry("verify", "Prove that a recording is whole.", f"{_AT}.recordings:verify"),
            Entry(
                "cut",
                "Make a recording of a part of another.",
                f"{_AT}.recordings_cut:cut",
            ),
            Entry(
                "merge",
                "Make one recording of several, by time.",
                f"{_AT}.recordings_merge:merge",
            ),
            Entry(
                "sanitize",
                "Write a recording again with less in it.",
                f"{_AT}.recordings_sanitize:sanitize",
            ),
            Entry(
                "convert",
                "Turn a recording into something else, or into one.",
                f"{_AT}.recordings_convert:convert",
            ),
        ),
        aliases=("rec",),
    ),
    Entry("doctor", "Find out what is wrong, and how to mend it.", f"{_AT}.doctor:doctor", SET_UP),
    Entry(
        "completions",
        "Have the shell complete commands and values.",
        f"{_AT}.completions",
        SET_UP,
        children=(
            Entry("show", "Print a shell's completion script.", f"{_AT}.completions:show"),
            Entry(
                "install",
                "Put a completion script where the shell finds it.",
                f"{_AT}.completions:install",
            ),
        ),
    ),
    Entry(
        "bench",
        "Measure what this path carries: rate, latency, fan-out.",
        f"{_AT}.bench:bench",
        RUN,
    ),
    Entry(
        "config",
        "Show the settings and where they come from.",
        f"{_AT}.config",
        SET_UP,
        children=(
            Entry("init", "Write a configuration file to begin with.", f"{_AT}.config_init:init"),
            Entry("show", "Show each setting and its source.", f"{_AT}.config:show"),
            Entry("check", "Say all that is wrong in a file.", f"{_AT}.config_check:check"),
            Entry("explain", "Say all about one setting.", f"{_AT}.config_explain:explain"),
            Entry("profiles", "List the profiles.", f"{_AT}.config_profiles:profiles"),
            Entry("use", "Choose the profile to use from now on.", f"{_AT}.config_profiles:use"),
            Entry("path", "Print where things are.", f"{_AT}.config:path"),
            Entry("schema", "Print the JSON Schema of config.yaml.", f"{_AT}.config:schema"),
        ),
    ),
)

ABOUT = "The operator's console, local relay and gateway for MegaBot's WebSocket API."


def build() -> Group:
    """The whole command tree, nothing of it imported yet."""
    return Group(COMMANDS, name="megabot", help=ABOUT, rich_markup_mode=None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; the message of a failure is on stderr."""
    given = [_in_utf8(each) for each in (sys.argv[1:] if arguments is None else arguments)]
    _reopen_closed_streams()
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
    """Parse and hand over. Typer's own `main` would turn a closed pipe into a failure."""
    tree = build()
    try:
        with tree.make_context("megabot", arguments, obj=invocation) as context:
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
    if possible:
        message = f"{fault.message}. Did you mean {' or '.join(sorted(possible))}?"
    else:
        message = fault.format_message()
    path = context.command_path if context is not None else "megabot"
    return WrongUsage(message, f"`{path} --help` shows what there is.")


def _text_report(invocation: Invocation, error: MegabotError) -> str:
    from megabot_cli.terminal.text import safe_line, safe_text

    console = invocation.console
    lines = [f"{console.paint_error('error:', 'bold', 'red')} {safe_text(_sentence(error))}"]
    if error.hint:
        lines.append(f"{console.paint_error('hint:', 'bold')} {safe_line(error.hint)}")
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
