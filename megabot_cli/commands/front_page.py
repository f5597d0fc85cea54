"""What `megabot --help` shows. It needs neither Typer nor anything else that takes time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from megabot_cli.commands.table import ABOUT, COMMANDS

# The options that every command takes: name, how it is written, what it is for.
EVERYWHERE = (
    ("profile", "-p, --profile PROFILE", "Which upstream and identity [MEGABOT_PROFILE]."),
    ("url", "--url URL", "Another address for the profile [MEGABOT_URL]."),
    ("config", "--config FILE", "Another configuration file [MEGABOT_CONFIG]."),
    (
        "output",
        "-o, --output FORM",
        "Form of the result: text, json, jsonl, and what the command adds.",
    ),
    ("json", "--json", "Short for -o json."),
    ("jsonl", "--jsonl", "Short for -o jsonl."),
    ("verbose", "-v, --verbose", "Say more on stderr."),
    ("quiet", "-q, --quiet", "Say only errors on stderr."),
    ("debug", "--debug", "Log more, and show tracebacks."),
    (
        "log_format",
        "--log-format <auto|console|json>",
        "Log lines for people or for machines; auto asks whether stderr is a terminal.",
    ),
    (
        "color",
        "--color <auto|always|never>",
        "Colour; auto heeds the terminal, NO_COLOR, FORCE_COLOR and TERM=dumb.",
    ),
    ("no_input", "--no-input", "Never ask; fail instead."),
    ("version", "-V, --version", "Print the version and stop."),
)
MEANING = {name: meaning for name, _, meaning in EVERYWHERE}

# What stands at the end: (line, purpose).
EXAMPLES = (
    ("megabot demo", "See all of it at work, without an account"),
    ("megabot login", "Begin: prove who you are"),
    ("megabot send 'What is a relay?'", "Ask"),
    ("megabot relay", "Share a connection, and record what passes"),
    ("megabot tail --type '*_error' --since 10m", "What went wrong just now?"),
)

_LEAST_WIDTH, _MOST_WIDTH = 30, 100
_LEAST_MEANING = 20  # columns beside a name: where there are fewer it stands below
_WIDEST_NAME = 30  # longer ones have a line of their own
_GAP = 2


def page_width(columns: int) -> int:
    """How wide help is on a terminal of so many columns."""
    return max(_LEAST_WIDTH, min(columns, _MOST_WIDTH) - 2)


def has_room_beside(name_columns: int, width: int) -> bool:
    """Whether meanings can stand beside names of so many columns, the gaps included."""
    return width - name_columns >= _LEAST_MEANING


def front_page(width: int) -> str:
    """The page in lines of at most `width`, with a line feed at the end."""
    headings: dict[str, list[tuple[str, str]]] = {}
    for entry in COMMANDS:
        headings.setdefault(entry.heading, []).append((entry.name, entry.help))
    options = [(written, meaning) for _, written, meaning in EVERYWHERE]
    options.append(("-h, --help", "Show this message and exit."))
    parts = [*_wrapped("Usage: megabot [OPTIONS] COMMAND [ARGS]...", width), ""]
    parts += [f"  {line}" for line in _wrapped(ABOUT, width - 2)]
    widest = max(len(entry.name) for entry in COMMANDS)
    for heading, rows in headings.items():
        parts += ["", f"{heading}:", *_table(rows, widest, width)]
    parts += ["", *_wrapped("Everywhere, before the command or after it:", width)]
    parts += _table(options, _WIDEST_NAME, width)
    parts += ["", "Examples:"]
    for line, purpose in EXAMPLES:
        parts += [f"  # {purpose}", f"  {line}"]
    return "\n".join([*parts, ""])


def _table(rows: Sequence[tuple[str, str]], widest: int, width: int) -> Iterator[str]:
    margin = " " * (2 + widest + _GAP)
    beside = has_room_beside(len(margin), width)
    if not beside:
        margin = " " * (2 + 2 * _GAP)
    for name, meaning in rows:
        first, *more = _wrapped(meaning, width - len(margin))
        if len(name) > widest or not beside:
            yield f"  {name}"
            yield margin + first
        else:
            yield f"  {name.ljust(widest + _GAP)}{first}"
        for line in more:
            yield margin + line


def _wrapped(text: str, width: int) -> list[str]:
    """The words of `text` in lines; importing textwrap takes longer than all of it."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
