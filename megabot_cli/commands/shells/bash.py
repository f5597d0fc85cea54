"""Completion for bash, 4 and later; it needs no bash-completion."""

from __future__ import annotations

from collections.abc import Iterator

from megabot_cli.commands.outline import Argument, Option, Outline
from megabot_cli.commands.shells.words import (
    NOTE,
    PROFILES_AWK,
    all_options,
    command_names,
    fixed_words,
    number_takers,
    takers,
)

_BASH_FRAME = r"""# {note}
# Load with: source megabot.bash

_megabot() {{
    local line words cur prev path word place given before
    line=${{COMP_LINE:0:COMP_POINT}}
    # Split at blanks ourselves: bash also splits at the colons of ws://host:port.
    read -ra words <<<"$line"
    [[ $line == *[[:blank:]] ]] && words+=("")
    cur=${{words[-1]}}
    prev=
    (( ${{#words[@]}} > 1 )) && prev=${{words[-2]}}
    before=
    if [[ $cur == --*=* ]]; then  # the value of the option in this same word
        prev=${{cur%%=*}}
        before=$prev=
        cur=${{cur#*=}}
    fi
    COMPREPLY=()
    _megabot_find
    _megabot_trim
}}

_megabot_find() {{
    path=megabot
    given=0
    for (( place = 1; place < ${{#words[@]}} - 1; place++ )); do
        word=${{words[place]}}
        case ${{words[place - 1]}} in
            {takers}) continue ;;
            {number_takers}) [[ $word =~ ^[+-]?[0-9]+$ ]] && continue ;;
        esac
        case "$path $word" in
{steps}
            *) [[ $word == -* ]] || (( given += 1 )) ;;
        esac
    done

    case "$path $prev" in
{values}
    esac

    case $path in
{words}
    esac
    if [[ $cur != -* ]]; then
        case "$path:$given" in
{arguments}
        esac
    fi
}}

_megabot_words() {{
    local words=$2
    [[ $cur == -* ]] && words=$1
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}

# A word with a colon or = is several words to bash: leave off what is already there.
_megabot_trim() {{
    local already= place
    [[ $COMP_WORDBREAKS == *=* ]] && before=
    [[ $COMP_WORDBREAKS == *:* ]] && already=${{cur%"${{cur##*:}}"}}
    [[ $already ]] && before=
    for place in "${{!COMPREPLY[@]}}"; do
        COMPREPLY[place]=$before${{COMPREPLY[place]#"$already"}}
    done
}}

# What lies in a folder of megabot's, without starting it: recordings, or profiles that are
# logged in. $2 is what their names end with.
_megabot_kept() {{
    local folder=${{MEGABOT_HOME:-${{XDG_DATA_HOME:-$HOME/.local/share}}/megabot}} entry
    [[ $OSTYPE == darwin* && -z ${{MEGABOT_HOME-}} ]] &&
        folder="$HOME/Library/Application Support/megabot"
    for entry in "$folder/$1"/*"${{2-}}"; do
        [[ -e $entry ]] || continue
        entry=${{entry##*/}}
        _megabot_offer "${{entry%"${{2-}}"}}"
    done
}}

_megabot_offer() {{
    [[ $1 == "$cur"* && " ${{COMPREPLY[*]}} " != *" $1 "* ]] && COMPREPLY+=("$1")
}}

_megabot_profiles() {{
    local file=${{XDG_CONFIG_HOME:-$HOME/.config}}/megabot/config.yaml entry
    [[ $OSTYPE == darwin* ]] && file="$HOME/Library/Application Support/megabot/config.yaml"
    [[ -n ${{MEGABOT_HOME-}} ]] && file=$MEGABOT_HOME/config.yaml
    file=${{MEGABOT_CONFIG:-$file}}
    _megabot_kept credentials .json
    [[ -r $file ]] || return 0
    while read -r entry; do
        _megabot_offer "$entry"
    done < <(awk '{profiles_awk}' "$file")
}}

# The sessions of the relays that run; each is asked for a second at most.
_megabot_sessions() {{
    local folder=${{XDG_STATE_HOME:-$HOME/.local/state}}/megabot
    local file facts asked reply=
    [[ $OSTYPE == darwin* ]] && folder="$HOME/Library/Application Support/megabot"
    [[ -n ${{MEGABOT_HOME-}} ]] && folder=$MEGABOT_HOME/state
    for file in "$folder"/run/relay-*.json; do
        # Of one that is dead the address may be somebody else's by now.
        asked=${{file##*-}} && [[ -r $file ]] && kill -0 "${{asked%.json}}" 2>/dev/null || continue
        facts=$(<"$file") asked=
        [[ $facts =~ \"admin_url\":\"(http://[^\"]+)\" ]] &&
            asked="url = \"${{BASH_REMATCH[1]}}/relay/sessions\""
        [[ $facts =~ \"admin_url\":\"unix:([^\"]+)\" ]] &&
            asked="unix-socket = \"${{BASH_REMATCH[1]}}\""$'\nurl = http://localhost/relay/sessions'
        [[ $asked && $facts =~ \"token_file\":\"([^\"]+)\" && -r ${{BASH_REMATCH[1]}} ]] &&
            asked+=$'\n'"header = \"Authorization: Bearer $(<"${{BASH_REMATCH[1]}}")\""
        # On stdin: the arguments of a program can be read by others.
        [[ $asked ]] && reply=$(printf '%s\n' "$asked" | curl -K - -gsm 1 --noproxy '*' 2>/dev/null)
        while [[ $reply =~ \"session\":\ ?\"([A-Za-z0-9_.-]+)\"(.*) ]]; do
            reply=${{BASH_REMATCH[2]}}
            _megabot_offer "${{BASH_REMATCH[1]}}"
        done
    done
}}

complete -o default -F _megabot megabot
"""


def bash_script(root: Outline) -> str:
    commands = list(root.walk())
    return _BASH_FRAME.format(
        note=NOTE,
        profiles_awk=PROFILES_AWK,
        takers="|".join(takers(root)),
        number_takers="|".join(number_takers(root)),
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
            reply = f"{_bash_reply(option)}; return"
            if option.may_stand_alone:  # the next word is offered what else may stand there
                reply = f"if [[ $before ]]; then {reply}; fi"
            yield f"        {names}) {reply} ;;"


def _bash_reply(what: Option | Argument) -> str:
    words = f'compgen -W "{" ".join(fixed_words(what))}" -- "$cur"'
    match what.completes:
        case "profile":
            return "_megabot_profiles"
        case "session":
            return "_megabot_sessions"
        case "nothing":
            return f"COMPREPLY=($({words}))" if what.choices else "compopt +o default"
    kind = "-d" if what.completes == "folder" else "-f"
    both = (
        f'{words}; compgen {kind} -- "$cur"' if fixed_words(what) else f'compgen {kind} -- "$cur"'
    )
    kept = "; _megabot_kept recordings" if what.completes == "recording" else ""
    return f"mapfile -t COMPREPLY < <({both}){kept}; compopt -o filenames"


def _bash_words(commands: list[Outline]) -> Iterator[str]:
    for command in commands:
        options = " ".join(name for each in all_options(command) for name in each.names)
        words = " ".join(command_names(command.children))
        yield f'        "{" ".join(command.path)}")'
        yield f'            _megabot_words "{options}" "{words}" ;;'


def _bash_arguments(commands: list[Outline]) -> Iterator[str]:
    for command in commands:
        for place, argument in enumerate(command.arguments):
            if argument.choices or argument.completes != "nothing":
                at = _from_place(place) if argument.repeats else str(place)
                yield f'            "{" ".join(command.path)}:"{at}) {_bash_reply(argument)} ;;'
        if not command.arguments:
            yield f'            "{" ".join(command.path)}:"*) compopt +o default ;;'


def _from_place(place: int) -> str:
    """A pattern for as many words as `place`, a digit, and more."""
    before = "".join(str(each) for each in range(place))
    return f"[!{before}]*" if before else "*"
