"""What is wrong with the files, folders and programs that settings name, before they are used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from megabot_cli.errors import BadConfiguration, MegabotError

if TYPE_CHECKING:
    from megabot_cli.config.file_layer import FileValue


def faults_of_named(each: FileValue) -> Iterator[MegabotError]:
    """Why what a setting names would be of no use to the relay or the gateway. Writes nothing."""
    if each.value is None:
        return
    try:
        match each.path:
            case ("gateway", "scenario"):
                yield from _faults_of_scenario(each.value)
            case ("gateway", "assistant"):
                _try_assistant(each.value)
            case ("recording", "folder"):
                _try_folder(Path(each.value).expanduser())
            case ("relay", "listen" | "admin_listen"):
                _try_socket(each.value)
    except MegabotError as fault:
        yield fault


def _faults_of_scenario(named: str) -> Iterator[MegabotError]:
    from megabot_cli.gateway.scenarios.finding import find_scenario, read_text
    from megabot_cli.gateway.scenarios.reading import read_liberally

    path = find_scenario(named)
    _, faults = read_liberally(read_text(path), str(path))
    yield from faults


def _try_assistant(words: str) -> None:
    import shlex
    import shutil

    from megabot_cli.config.schema import GatewaySettings
    from megabot_cli.gateway.assistants.choice import open_assistant

    open_assistant(GatewaySettings(assistant=words))
    kind, _, command = words.partition(":")
    if kind == "command":
        program = shlex.split(command)[0]
        if shutil.which(program) is None:
            raise BadConfiguration(
                f"there is no program {program!r}", "Name one that is on the PATH, or its path."
            )


def _try_socket(listen: str) -> None:
    from megabot_cli.config.listen import unix_path

    try:
        path = unix_path(listen)
    except BadConfiguration:
        return  # told where addresses are looked at
    if path is None:
        return
    if Path(path).is_dir():
        raise BadConfiguration(f"{path} is a folder", "Name a socket in it.")
    _try_folder(Path(path).parent)


def _try_folder(folder: Path) -> None:
    """Whether files can be made in a folder that may still have to be made itself."""
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        what = "is a file" if there.exists() else "leads nowhere"
        raise BadConfiguration(f"{there} {what}, not a folder", "Name a folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise BadConfiguration(
            f"nothing can be written in {there}", "Change its mode or owner, or name another."
        )
