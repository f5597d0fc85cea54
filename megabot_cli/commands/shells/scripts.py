"""The completion script of each shell, and where the shell looks for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from megabot_cli.errors import BadConfiguration

if TYPE_CHECKING:
    from megabot_cli.commands.outline import Outline

Shell = Literal["bash", "zsh", "fish", "powershell"]

FILE_NAMES: dict[Shell, str] = {
    "bash": "megabot.bash",
    "zsh": "_megabot",
    "fish": "megabot.fish",
    "powershell": "megabot.ps1",
}

# Where systems put bash-completion, which loads a script when a command is first completed.
BASH_COMPLETION = (
    "/usr/share/bash-completion/bash_completion",
    "/usr/local/share/bash-completion/bash_completion",
    "/opt/homebrew/etc/profile.d/bash_completion.sh",
    "/usr/local/etc/profile.d/bash_completion.sh",
)


@dataclass(frozen=True)
class Place:
    """Where a script belongs, and what a shell must be told to find it there.

    `line` goes into `rc_file`; None: the shell finds the script by itself.
    """

    file: Path
    rc_file: Path | None = None
    line: str | None = None


def script_of(shell: Shell, root: Outline) -> str:
    """The script that completes all commands below `root`."""
    match shell:
        case "bash":
            from megabot_cli.commands.shells.bash import bash_script as script
        case "zsh":
            from megabot_cli.commands.shells.zsh import zsh_script as script
        case "fish":
            from megabot_cli.commands.shells.fish import fish_script as script
        case "powershell":
            from megabot_cli.commands.shells.powershell import powershell_script as script
    return script(root)


def place_of(shell: Shell, environ: Mapping[str, str]) -> Place:
    """Where the script goes for this user alone. BadConfiguration without a home folder."""
    match shell:
        case "bash":
            return _place_for_bash(environ)
        case "zsh":
            return _place_for_zsh(environ)
        case "fish":
            config = _folder(environ, "XDG_CONFIG_HOME", ".config")
            return Place(config / "fish" / "completions" / FILE_NAMES["fish"])
        case "powershell":
            return _place_for_powershell(environ)


def _place_for_bash(environ: Mapping[str, str]) -> Place:
    own = environ.get("BASH_COMPLETION_USER_DIR", "").partition(":")[0]
    folder = Path(own) if own else _data(environ) / "bash-completion"
    file = folder / "completions" / "megabot"  # bash-completion goes by the command's name
    if any(Path(each).exists() for each in BASH_COMPLETION):
        return Place(file)
    return Place(file, _home(environ) / ".bashrc", f"source {_quoted(file)}")


def _place_for_zsh(environ: Mapping[str, str]) -> Place:
    file = _data(environ) / "zsh" / "site-functions" / FILE_NAMES["zsh"]
    rc_file = Path(environ.get("ZDOTDIR") or _home(environ)) / ".zshrc"
    load = "autoload -Uz compinit && compinit"
    return Place(file, rc_file, f"fpath=({_quoted(file.parent)} $fpath); {load}")


def _place_for_powershell(environ: Mapping[str, str]) -> Place:
    file = _data(environ) / "megabot" / "completions" / FILE_NAMES["powershell"]
    config = _folder(environ, "XDG_CONFIG_HOME", ".config")
    rc_file = config / "powershell" / "Microsoft.PowerShell_profile.ps1"
    name = str(file).replace("'", "''")
    return Place(file, rc_file, f". '{name}'")


def _data(environ: Mapping[str, str]) -> Path:
    return _folder(environ, "XDG_DATA_HOME", ".local/share")


def _folder(environ: Mapping[str, str], variable: str, below_home: str) -> Path:
    """A folder of the user; a relative one does not count (XDG Base Directory, 0.8)."""
    named = environ.get(variable, "")
    return Path(named) if Path(named).is_absolute() else _home(environ) / below_home


def _home(environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME") or environ.get("USERPROFILE") or _home_of_account()
    if not home:
        raise BadConfiguration(
            "Nobody knows where your home folder is",
            "Set HOME; or `megabot completions show SHELL` prints the script.",
        )
    return Path(home)


def _home_of_account() -> str | None:
    """What the system knows of whoever runs us; None: it knows nobody of that number."""
    try:
        import pwd  # not on Windows
    except ImportError:
        return None
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return None


def _quoted(path: Path) -> str:
    from megabot_cli.commands.shells.words import quoted

    text = str(path)
    plain = all(character.isalnum() or character in "/._-+@" for character in text)
    return text if plain else quoted(text)
