"""Completion for fish."""

from __future__ import annotations

from collections.abc import Iterator

from megabot_cli.commands.outline import Option, Outline, everywhere
from megabot_cli.commands.shells.words import NOTE, command_names, quoted, takers

_FISH_HEAD = """# {note}

function __megabot_at --description 'Whether the words so far name this command'
    set -l given
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $word {takers}
            set skip 1
        else if not string match -q -- '-*' $word
            set -a given $word
        end
    end
    set -l depth (count $argv)
    test (count $given) -ge $depth; or return 1
    test $depth = 0; or test "$given[1..$depth]" = "$argv"
end

function __megabot_next --description 'Whether the next word is a command of this group'
    __megabot_at $argv; or return 1
    for word in {commands}
        if __megabot_at $argv $word
            return 1
        end
    end
end

function __megabot_kept --description 'What lies in a folder of megabot, without starting it'
    set -l folder $HOME/.local/share/megabot
    set -q XDG_DATA_HOME; and set folder $XDG_DATA_HOME/megabot
    test (uname) = Darwin; and set folder $HOME/Library/'Application Support'/megabot
    set -q MEGABOT_HOME; and set folder $MEGABOT_HOME
    for entry in $folder/$argv[1]/*$argv[2]
        string replace -r -- (string escape --style=regex -- "$argv[2]")'$' '' (basename $entry)
    end
end

complete -c megabot -f
"""


_KEPT = {
    "recording": '(__megabot_kept recordings "") last',
    "profile": "(__megabot_kept credentials .json)",
}


def fish_script(root: Outline) -> str:
    commands = list(root.walk())
    lines = [
        _FISH_HEAD.format(
            note=NOTE,
            takers=" ".join(takers(root)),
            commands=" ".join(dict.fromkeys(command_names(commands[1:]))),
        )
    ]
    lines += [_fish_option(option, "__megabot_at") for option in everywhere()]
    for command in commands:
        for path in _spellings(command):
            lines += _fish_command(command, " ".join(path))
    return "\n".join(lines) + "\n"


def _spellings(command: Outline) -> Iterator[tuple[str, ...]]:
    """Its path below `megabot`, by name; aliases complete as groups do."""
    yield command.path[1:]
    for alias in command.aliases:
        yield (*command.path[1:-1], alias)


def _fish_command(command: Outline, path: str) -> Iterator[str]:
    for child in command.children:
        at = f"__megabot_next {path}".strip()
        yield f"complete -c megabot -n '{at}' -a {child.path[-1]} -d {quoted(child.line)}"
    for option in command.options:
        yield _fish_option(option, f"__megabot_at {path}")
    if command.forms:
        forms = " ".join(command.forms)
        yield f"complete -c megabot -n '__megabot_at {path}' -s o -l output -x -a '{forms}'"
    for argument in command.arguments[:1]:
        if argument.completes in _KEPT:
            kept = _KEPT[argument.completes]
            files = " -F" if argument.completes == "recording" else ""
            yield f"complete -c megabot -n '__megabot_at {path}'{files} -a '{kept}'"
        elif argument.completes != "nothing":
            yield f"complete -c megabot -n '__megabot_at {path}' -F"
        elif argument.choices:
            yield f"complete -c megabot -n '__megabot_at {path}' -a '{' '.join(argument.choices)}'"


def _fish_option(option: Option, at: str) -> str:
    names = " ".join(
        f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names
    )
    value = ""
    if option.takes:
        value = {
            "file": " -r -F",
            "folder": " -r -F",
            "recording": f" -r -F -a '{_KEPT['recording']}'",
            "profile": f" -x -a '{_KEPT['profile']}'",
            "nothing": " -x",
        }[option.completes]
    if option.choices:
        value = f" -x -a '{' '.join(option.choices)}'"
    return f"complete -c megabot -n '{at}' {names}{value} -d {quoted(option.help)}"
