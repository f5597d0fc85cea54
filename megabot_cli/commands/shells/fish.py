"""Completion for fish."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from megabot_cli.commands.outline import Argument, Option, Outline, everywhere
from megabot_cli.commands.shells.words import (
    NOTE,
    PROFILES_AWK,
    command_names,
    fixed_words,
    number_takers,
    quoted,
    takers,
)

_FISH_HEAD = """# {note}

function __megabot_given --description 'The words so far that are no options'
    set -l skip 0
    set -l before
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $word {takers}
            set skip 1
        else if string match -qr -- '^[+-]?[0-9]+$' $word
            and contains -- "$before" {number_takers}
        else if not string match -q -- '-*' $word
            echo $word
        end
        set before $word
    end
end

function __megabot_at --description 'Whether the words so far name this command'
    set -l given (__megabot_given)
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

function __megabot_place --description 'Whether so many words (1+: or more) follow a command'
    set -l words $argv[2..-1]
    __megabot_at $words; or return 1
    set -l beyond (math (count (__megabot_given)) - (count $words))
    test $beyond = $argv[1]; or test $beyond+ = $argv[1]; and return 0
    string match -q -- '*+' $argv[1]; and test $beyond -gt (string trim -r -c + $argv[1])
end

function __megabot_profiles
    set -l file $HOME/.config/megabot/config.yaml
    set -q XDG_CONFIG_HOME; and set file $XDG_CONFIG_HOME/megabot/config.yaml
    test (uname) = Darwin; and set file $HOME/Library/'Application Support'/megabot/config.yaml
    set -q MEGABOT_HOME; and set file $MEGABOT_HOME/config.yaml
    set -q MEGABOT_CONFIG; and set file $MEGABOT_CONFIG
    __megabot_kept credentials .json
    test -r $file; and awk '{profiles_awk}' $file
end

function __megabot_sessions --description 'Of the relays that run, asked for a second at most'
    set -l folder $HOME/.local/state/megabot
    set -q XDG_STATE_HOME; and set folder $XDG_STATE_HOME/megabot
    test (uname) = Darwin; and set folder $HOME/Library/'Application Support'/megabot
    set -q MEGABOT_HOME; and set folder $MEGABOT_HOME/state
    for file in $folder/run/relay-*.json
        # Of one that is dead the address may be somebody else's by now.
        kill -0 (string replace -r '.*-([0-9]+)\\.json$' '$1' $file) 2>/dev/null; or continue
        set -l url (string replace -rf '.*"admin_url":"(http://[^"]+)".*' '$1' < $file)
        set -l socket (string replace -rf '.*"admin_url":"unix:([^"]+)".*' '$1' < $file)
        set -l key (string replace -rf '.*"token_file":"([^"]+)".*' '$1' < $file)
        set -l asked
        test -n "$url"; and set asked "url = \\"$url/relay/sessions\\""
        test -n "$socket"; and set asked "unix-socket = \\"$socket\\""
        test -n "$socket"; and set -a asked 'url = http://localhost/relay/sessions'
        test -n "$asked"; or continue
        test -r "$key"; and set -a asked "header = \\"Authorization: Bearer "(cat $key)\\"
        # On stdin: the arguments of a program can be read by others.
        printf '%s\\n' $asked | curl -K - -gsm 1 --noproxy '*' 2>/dev/null |
            string match -ar '"session": ?"[A-Za-z0-9_.-]+"' | string replace -r '.*"(.+)"$' '$1'
    end
end

complete -c megabot -f
"""


_KEPT = {
    "recording": '(__megabot_kept recordings "")',
    "profile": "(__megabot_profiles)",
    "session": "(__megabot_sessions)",
}


def fish_script(root: Outline) -> str:
    commands = list(root.walk())
    lines = [
        _FISH_HEAD.format(
            note=NOTE,
            profiles_awk=PROFILES_AWK,
            takers=" ".join(takers(root)),
            number_takers=" ".join(number_takers(root)),
            commands=" ".join(dict.fromkeys(command_names(commands[1:]))),
        )
    ]
    for option in everywhere():
        if "--output" in option.names:  # each command has its own forms, a group has them all
            lines += [
                _fish_option(option, f"__megabot_next {' '.join(path)}".strip())
                for command, spellings in _spelled(root)
                if command.children
                for path in spellings
            ]
            option = replace(option, choices=())
        lines.append(_fish_option(option, "__megabot_at"))
    for command, spellings in _spelled(root):
        for path in spellings:
            lines += _fish_command(command, " ".join(path))
    return "\n".join(lines) + "\n"


Spellings = tuple[tuple[str, ...], ...]


def _spelled(command: Outline, spellings: Spellings = ((),)) -> Iterator[tuple[Outline, Spellings]]:
    """Each command with all that may be typed for it: groups and commands have aliases."""
    yield command, spellings
    for child in command.children:
        names = (child.path[-1], *child.aliases)
        yield from _spelled(child, tuple((*path, name) for path in spellings for name in names))


def _fish_command(command: Outline, path: str) -> Iterator[str]:
    for child in command.children:
        at = f"__megabot_next {path}".strip()
        yield f"complete -c megabot -n '{at}' -a {child.path[-1]} -d {quoted(child.line)}"
    for option in command.options:
        yield _fish_option(option, f"__megabot_at {path}")
    if command.forms:
        forms = " ".join(command.forms)
        yield f"complete -c megabot -n '__megabot_at {path}' -s o -l output -x -a '{forms}'"
    for place, argument in enumerate(command.arguments):
        words, files = _fish_words(argument), " -F" if _is_file(argument) else ""
        if words or files:
            at = f"__megabot_place {place}{'+' if argument.repeats else ''} {path}"
            yield f"complete -c megabot -n '{at}'{files}{words}"


def _fish_words(what: Option | Argument) -> str:
    kept = (_KEPT[what.completes],) if what.completes in _KEPT else ()
    words = " ".join((*kept, *fixed_words(what)))
    return f" -a '{words}'" if words else ""


def _is_file(what: Option | Argument) -> bool:
    return what.completes in ("file", "folder", "recording")


def _fish_option(option: Option, at: str) -> str:
    names = " ".join(
        f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names
    )
    value = ""
    if option.takes and not option.may_stand_alone:
        value = f"{' -r -F' if _is_file(option) else ' -x'}{_fish_words(option)}"
    return f"complete -c megabot -n '{at}' {names}{value} -d {quoted(option.help)}"
