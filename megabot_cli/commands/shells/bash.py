"""Completion for bash, 4 and later; it needs no bash-completion."""

from __future__ import annotations

from collections.abc import Iterator

from megabot_cli.commands.outline import Argument, Option, Outline
from megabot_cli.commands.shells.words import NOTE, all_options, command_names, takers

_BASH_FRAME = r"""# {note}
# Load with: source megabot.bash

_megabot() {{
    local line words cur prev path word place
    line=${{COMP_LINE:0:COMP_POINT}}
    # Split at blanks ourselves: bash also splits at the colons of ws://host:port.
    read -ra words <<<"$line"
    [[ $line == *[[:blank:]] ]] && words+=("")
    cur=${{words[-1]}}
    prev=
    (( ${{#words[@]}} > 1 )) && prev=${{words[-2]}}
    COMPREPLY=()

    path=megabot
    for (( place = 1; place < ${{#words[@]}} - 1; place++ )); do
        word=${{words[place]}}
        case ${{words[place - 1]}} in
            {takers}) continue ;;
        esac
        case "$path $word" in
{steps}
        esac
    done

    case "$path $prev" in
{values}
    esac

    case $path in
{words}
    esac
    if [[ $cur != -* ]]; then
        case $path in
{arguments}
        esac
    fi
    _megabot_trim
}}

_megabot_words() {{
    local words=$2
    [[ $cur == -* ]] && words=$1
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}

# A word with a colon is several words to bash: leave off what is already there.
_megabot_trim() {{
    local already=${{cur%"${{cur##*:}}"}} place
    [[ $cur == *:* && $COMP_WORDBREAKS == *:* ]] || return 0
    for place in "${{!COMPREPLY[@]}}"; do
        COMPREPLY[place]=${{COMPREPLY[place]#"$already"}}
    done
}}

# What lies in a folder of megabot's, without starting it: recordings, or profiles that are
# logged in. $2 is what their names end with.
_megabot_kept() {{
    local folder=${{MEGABOT_HOME:-${{XDG_DATA_HOME:-$HOME/.local/share}}/megabot}} entry
    [[ $OSTYPE == darwin* && -z ${{MEGABOT_HOME-}} ]] &&
        folder="$HOME/Library/Application Support/megabot"
    for entry in "$folder/$1"/*"$2"; do
        [[ -e $entry ]] || continue
        entry=${{entry##*/}}
        entry=${{entry%"$2"}}
        [[ $entry == "$cur"* ]] && COMPREPLY+=("$entry")
    done
}}

complete -o default -F _megabot megabot
"""


def bash_script(root: Outline) -> str:
    commands = list(root.walk())
    return _BASH_FRAME.format(
        note=NOTE,
        takers="|".join(takers(root)),
        steps="\n".join(_bash_steps(commands)),
        values="\n".join(_bash_values(commands)),
        words="\n".join(_bash_words(commands)),
        arguments="\n".join(_bash_arguments(commands)),
    )


def _bash_steps(commands: list[Outline]) -> Iterator[str]:
    for command in commands[1:]:
        parent = " ".join(command.path[:-1])
        names = "|".join(f'"{parent} {name}"' for name in (command.path[-1], *command.aliases))
        yield f'            {names}) path="{" ".join(command.path)}" ;;'


def _bash_values(commands: list[Outline]) -> Iterator[str]:
    for command in commands:
        for option in all_options(command):
            if not option.takes:
                continue
            path = " ".join(command.path)
            names = "|".join(f'"{path} {name}"' for name in option.names)
            yield f"        {names}) {_bash_reply(option)}; return ;;"


def _bash_reply(what: Option | Argument) -> str:
    if what.choices:
        return f'COMPREPLY=($(compgen -W "{" ".join(what.choices)}" -- "$cur"))'
    if what.completes == "nothing":
        return "compopt +o default"
    if what.completes == "profile":
        return "_megabot_kept credentials .json"
    if what.completes == "recording":
        files = 'mapfile -t COMPREPLY < <(compgen -W last -- "$cur"; compgen -f -- "$cur")'
        return f"{files}; _megabot_kept recordings; compopt -o filenames"
    kind = "-d" if what.completes == "folder" else "-f"
    return f'mapfile -t COMPREPLY < <(compgen {kind} -- "$cur"); compopt -o filenames'


def _bash_words(commands: list[Outline]) -> Iterator[str]:
    for command in commands:
        options = " ".join(name for each in all_options(command) for name in each.names)
        words = " ".join(command_names(command.children))
        yield f'        "{" ".join(command.path)}")'
        yield f'            _megabot_words "{options}" "{words}" ;;'


def _bash_arguments(commands: list[Outline]) -> Iterator[str]:
    for command in commands:
        for argument in command.arguments[:1]:
            if argument.choices or argument.completes != "nothing":
                yield f'            "{" ".join(command.path)}") {_bash_reply(argument)} ;;'
        if not command.arguments:
            yield f'            "{" ".join(command.path)}") compopt +o default ;;'
