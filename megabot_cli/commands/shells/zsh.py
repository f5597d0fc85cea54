"""Completion for zsh."""

from __future__ import annotations

from collections.abc import Iterator

from megabot_cli.commands.outline import Argument, Option, Outline
from megabot_cli.commands.shells.words import NOTE, PROFILES_AWK, all_options, fixed_words, quoted

# Without starting megabot; a name of its own, because commands have theirs.
_ZSH_KEPT = """__megabot_kept() {
    local folder=${MEGABOT_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/megabot}
    [[ $OSTYPE == darwin* && -z $MEGABOT_HOME ]] &&
        folder="$HOME/Library/Application Support/megabot"
    local -a names=($folder/$1/*$2(N:t))
    names=(${names%$2})
    compadd -a names
}
__megabot_or_files() {
    compadd -- $@
    _files
}
__megabot_recordings() {
    __megabot_kept recordings
    __megabot_or_files $@
}
__megabot_profiles() {
    local file=${XDG_CONFIG_HOME:-$HOME/.config}/megabot/config.yaml
    [[ $OSTYPE == darwin* ]] && file="$HOME/Library/Application Support/megabot/config.yaml"
    [[ -n $MEGABOT_HOME ]] && file=$MEGABOT_HOME/config.yaml
    file=${MEGABOT_CONFIG:-$file}
    __megabot_kept credentials .json
    [[ -r $file ]] && compadd -- ${(f)"$(awk '<profiles_awk>' $file)"}
}
# Of the relays that run; each is asked for a second at most.
__megabot_sessions() {
    local folder=${XDG_STATE_HOME:-$HOME/.local/state}/megabot
    local file facts asked reply
    local -a match mbegin mend names
    [[ $OSTYPE == darwin* ]] && folder="$HOME/Library/Application Support/megabot"
    [[ -n $MEGABOT_HOME ]] && folder=$MEGABOT_HOME/state
    for file in $folder/run/relay-*.json(N); do
        # Of one that is dead the address may be somebody else's by now.
        asked=${file:t:r} && kill -0 ${asked##*-} 2>/dev/null || continue
        facts=$(<$file) asked=
        [[ $facts =~ '"admin_url":"(http://[^"]+)"' ]] &&
            asked="url = \\"$match[1]/relay/sessions\\""
        [[ $facts =~ '"admin_url":"unix:([^"]+)"' ]] &&
            asked="unix-socket = \\"$match[1]\\""$'\\nurl = http://localhost/relay/sessions'
        [[ -n $asked && $facts =~ '"token_file":"([^"]+)"' && -r $match[1] ]] &&
            asked+=$'\\n'"header = \\"Authorization: Bearer $(<$match[1])\\""
        # On stdin: the arguments of a program can be read by others.
        [[ -n $asked ]] &&
            reply=$(print -r -- $asked | curl -K - -gsm 1 --noproxy '*' 2>/dev/null)
        while [[ $reply =~ '"session": ?"([A-Za-z0-9_.-]+)"(.*)' ]]; do
            names+=($match[1])
            reply=$match[2]
        done
    done
    compadd -a names
}
""".replace("<profiles_awk>", PROFILES_AWK)


def zsh_script(root: Outline) -> str:
    parts = ["#compdef megabot", f"# {NOTE}", ""]
    for command in root.walk():
        parts += [*_zsh_group(command), ""] if command.children else [*_zsh_leaf(command), ""]
    parts += [_ZSH_KEPT]
    parts += [
        'if [[ $funcstack[1] == _megabot ]]; then _megabot "$@"; else',
        "    compdef _megabot megabot",
        "fi",
    ]
    return "\n".join(parts) + "\n"


def _zsh_name(command: Outline) -> str:
    return "_" + "_".join(command.path).replace("-", "_")


def _zsh_group(command: Outline) -> Iterator[str]:
    yield f"{_zsh_name(command)}() {{"
    yield "    local curcontext=$curcontext state line"
    yield "    local -a commands=("
    for child in command.children:
        for name in (child.path[-1], *child.aliases):
            yield f"        {quoted(f'{name}:{child.line}')}"
    yield "    )"
    yield "    _arguments -C \\"
    for option in all_options(command):
        yield f"        {_zsh_option(option)} \\"
    yield "        '1: :->command' '*:: :->rest'"
    yield "    case $state in"
    yield "        command) _describe command commands ;;"
    yield "        rest)"
    yield "            case $words[1] in"
    for child in command.children:
        names = "|".join((child.path[-1], *child.aliases))
        yield f"                {names}) {_zsh_name(child)} ;;"
    yield "            esac ;;"
    yield "    esac"
    yield "}"


def _zsh_leaf(command: Outline) -> Iterator[str]:
    yield f"{_zsh_name(command)}() {{"
    yield "    _arguments \\"
    lines = [_zsh_option(option) for option in all_options(command)]
    for place, argument in enumerate(command.arguments, start=1):
        at = "*" if argument.repeats else place
        lines.append(quoted(f"{at}:{argument.name.lower()}:{_zsh_action(argument)}"))
    yield " \\\n".join(f"        {line}" for line in lines)
    yield "}"


def _zsh_option(option: Option) -> str:
    help_text = option.help.replace("[", "(").replace("]", ")").replace(":", ";")
    value = ""
    if option.takes:
        colons = "::" if option.may_stand_alone else ":"
        named = option.takes.lower().strip("[]").replace(":", " ")
        value = f"{colons}{named}:{_zsh_action(option)}"
    repeat = "*" if option.repeats else f"({' '.join(option.names)})"
    # With = behind it an option takes its value in the same word too, or in the next.
    names = [f"{n}=" if option.takes and n.startswith("--") else n for n in option.names]
    if len(names) == 1:
        return quoted(f"{'*' if option.repeats else ''}{names[0]}[{help_text}]{value}")
    braced = "{" + ",".join(names) + "}"
    return f"{quoted(repeat)}{braced}{quoted(f'[{help_text}]{value}')}"


def _zsh_action(what: Option | Argument) -> str:
    words = " ".join(fixed_words(what)).replace(":", "\\:")  # a colon alone ends the action
    if what.choices and what.completes == "nothing":
        return f"({words})"
    return {
        "file": f"__megabot_or_files {words}" if words else "_files",
        "folder": "_files -/",
        "recording": f"__megabot_recordings {words}",
        "session": "__megabot_sessions",
        "profile": "__megabot_profiles",
        "nothing": " ",
    }[what.completes]
