"""megabot-exit-codes(7) and megabot-environment(7), and the tables that megabot(1) has too."""

from __future__ import annotations

from typing import Final, NamedTuple


class ExitCode(NamedTuple):
    """One exit code: the word for it in an error's JSON, what it means, and what to do."""

    number: int
    code: str | None
    meaning: str
    what_to_do: str


EXIT_CODES: Final = (
    ExitCode(0, None, "Done. A reader that closed the pipe counts as done.", "Nothing."),
    ExitCode(
        1,
        "internal",
        "A fault inside megabot, or stdout could not be written.",
        "A full disk is said; for anything else the same command with --debug shows where.",
    ),
    ExitCode(
        2,
        "usage",
        "Wrong usage.",
        "The message names the word; --help of the command shows what there is. Also what "
        "would have to be asked for where nobody can be asked: the flag to give is named.",
    ),
    ExitCode(
        3,
        "timeout",
        "Time ran out waiting.",
        "Try again, or wait longer: --timeout is the whole time, --idle-timeout the silence.",
    ),
    ExitCode(
        4,
        "not_authenticated",
        "Not authenticated.",
        "`megabot login`; `megabot whoami` says what there is, `megabot doctor` what is wrong "
        "with it.",
    ),
    ExitCode(
        5,
        "not_permitted",
        "Not permitted.",
        "The credential is good and may not do this. Another one may, or another profile.",
    ),
    ExitCode(
        6,
        "upstream_error",
        "The upstream answered with an error.",
        "Its code and words are in the message. A fault of its own (500) may pass by itself.",
    ),
    ExitCode(
        7,
        "could_not_connect",
        "Could not connect.",
        "Name, port, certificate or upgrade: the message says which. `megabot doctor` looks at "
        "one layer after the other.",
    ),
    ExitCode(
        8,
        "connection_lost",
        "The connection was lost and not recovered.",
        "What was sent may have arrived or not: look before it is sent again.",
    ),
    ExitCode(
        9,
        "not_found",
        "Not found: session, recording, profile, setting.",
        "A guess stands below the message where something is spelt alike.",
    ),
    ExitCode(
        10,
        "rate_limited",
        "Rate limited.",
        "Wait as long as the message says (retry_after_s), or lower the rate.",
    ),
    ExitCode(
        11,
        "bad_data",
        "Bad data: JSON, message, recording.",
        "The message names the place: a column, a line, a path such as $.payload.content.",
    ),
    ExitCode(
        12,
        "bad_configuration",
        "Bad configuration.",
        "`megabot config check` says all that is wrong, each with its line.",
    ),
    ExitCode(
        13,
        "expectation_failed",
        "An expectation failed, or replies differ.",
        "Of replay --expect and --assert, tail --fail-on, recordings diff; or a tool failed.",
    ),
    ExitCode(
        14,
        "partly_failed",
        "Part of a batch failed.",
        "Each line of the result says of its own message whether it did.",
    ),
    ExitCode(
        130,
        None,
        "Ended by SIGINT; 143 by SIGTERM, 129 by SIGHUP.",
        "Nothing. A relay or gateway that was told so and stopped in good order ends with 0. What "
        "a script starts with & ignores SIGINT, for the shell has it so: SIGTERM ends it.",
    ),
)
WORTH_ANOTHER_TRY: Final = "Codes 3, 7, 8 and 10 are worth another try."

VARIABLES: Final = (
    ("MEGABOT_PROFILE", "The profile, as --profile."),
    ("MEGABOT_URL", "The profile's address, as --url."),
    ("MEGABOT_CONFIG", "The configuration file, as --config."),
    ("MEGABOT_HOME", "One folder for configuration, data and state."),
    (
        "MEGABOT_TOKEN",
        "A token (JWT) to use instead of the stored credential, for scripts and CI. A stored "
        "credential is bound to the address that it was given for; this one goes to whatever "
        "address the profile in force has, also where a configuration file names it. Set it for "
        "commands whose configuration you trust. `-v` and `megabot doctor` tell that it is used.",
    ),
    (
        "MEGABOT_API_KEY",
        "An API key to use instead of the stored credential; as MEGABOT_TOKEN, which outranks it.",
    ),
    ("MEGABOT_FLAT_TOKEN", "The static token of `gateway --dialect flat`, instead of its own."),
    (
        "MEGABOT_PAGER, PAGER",
        "What shows long results on a terminal, instead of less; cat or nothing: none.",
    ),
    ("NO_COLOR", "Any value switches colour off."),
    ("FORCE_COLOR, CLICOLOR_FORCE", "Any value but 0 switches colour on."),
    (
        "TERM",
        "dumb: no colour, nothing that is drawn and drawn over, and no pager but a named one.",
    ),
    ("COLUMNS", "How wide the terminal is, instead of what it says itself."),
)
_MORE_VARIABLES: Final = (
    (
        "MEGABOT_MODEL_KEY",
        "The key of the service that `gateway --assistant openai:URL` asks; see "
        "megabot-assistants(7).",
    ),
    (
        "XDG_CONFIG_HOME, XDG_DATA_HOME, XDG_STATE_HOME",
        "Where files are on Linux without MEGABOT_HOME; `megabot config path` says where.",
    ),
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID",
        "Set by systemd: the relay and the gateway tell it that they are ready, and that "
        "they live.",
    ),
)

_RETRYING = r"""
until megabot send "$text" > answer.txt; do
    case $? in
        7|10) sleep 5 ;;   # after 3 and 8 it may have arrived
        *) exit 1 ;;
    esac
done
""".strip("\n")


def exit_codes_page() -> str:
    from megabot_cli.commands.manual_pages import escape, head, item

    lines = [
        *head("MEGABOT-EXIT-CODES", 7, "Miscellaneous"),
        ".SH NAME",
        "megabot\\-exit\\-codes \\- how megabot says what became of a command",
        ".SH DESCRIPTION",
        "The same codes mean the same in every command. On standard error stands one sentence",
        "of what happened and, where there is something to do, one of what to do.",
        ".SH CODES",
    ]
    for each in EXIT_CODES:
        word = f" {escape(each.code)}" if each.code else ""
        lines += item(f"\\fB{each.number}\\fR{word}", each.meaning)
        if each.what_to_do != "Nothing.":
            lines += [".br", escape(each.what_to_do)]
    lines += [
        ".SH ANOTHER TRY",
        WORTH_ANOTHER_TRY,
        ".PP",
        ".EX",
        *map(escape, _RETRYING.splitlines()),
        ".EE",
        ".SH FOR PROGRAMS",
        "With \\fB\\-\\-json\\fR or \\fB\\-\\-jsonl\\fR an error is the last line of standard",
        "error, an object in an object:",
        ".PP",
        ".EX",
        '{"error": {"code": "rate_limited", "exit": 10, "message": "...", "hint": null,',
        '           "retryable": true, "retry_after_s": 7.0, "close_code": null}}',
        ".EE",
        ".PP",
        "\\fBcode\\fR is the word that stands beside the number above.",
        ".SH SEE ALSO",
        "\\fBmegabot\\fR(1),",
        "\\fBmegabot\\-environment\\fR(7)",
    ]
    return "\n".join(lines) + "\n"


def environment_page() -> str:
    from megabot_cli.commands.manual_pages import escape, head, item

    lines = [
        *head("MEGABOT-ENVIRONMENT", 7, "Miscellaneous"),
        ".SH NAME",
        "megabot\\-environment \\- the variables that megabot heeds",
        ".SH DESCRIPTION",
        "Every setting has a variable, named in",
        ".BR megabot\\-config (5):",
        "what is \\fIlimits.queue\\fR there is \\fBMEGABOT_LIMITS_QUEUE\\fR here, and outranks",
        "the file. One that sets nothing is told. These are no settings:",
    ]
    for name, meaning in (*VARIABLES, *_MORE_VARIABLES):
        lines += item(f"\\fB{escape(name)}\\fR", meaning)
    lines += [
        ".SH SEE ALSO",
        "\\fBmegabot\\fR(1),",
        "\\fBmegabot\\-config\\fR(5),",
        "\\fBmegabot\\-exit\\-codes\\fR(7)",
    ]
    return "\n".join(lines) + "\n"
