"""Files whose names were typed: read, or an error that says what stands in the way."""

from __future__ import annotations

import os
from pathlib import Path

from megabot_cli.errors import BadData, MegabotError, NotFound, NotPermitted


def read_text_of(file: Path) -> str:
    """What stands in a file. NotFound, NotPermitted; BadData for what is no UTF-8 text."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as fault:
        raise no_text(str(file), fault) from None
    except OSError as fault:
        raise unreadable(file, fault) from None


def open_to_read(file: Path) -> int:
    """A descriptor for a file, or why there is none."""
    try:
        if file.is_dir():
            raise IsADirectoryError
        return os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as fault:
        raise unreadable(file, fault) from None


def no_text(name: str, fault: UnicodeDecodeError) -> BadData:
    return BadData(
        f"{name} is not UTF-8 text (byte {fault.start})", "`iconv -t UTF-8` makes it that."
    )


def unreadable(file: Path, fault: OSError) -> MegabotError:
    """Why a file could not be read, and what to do about it."""
    match fault:
        case FileNotFoundError():
            return NotFound(f"There is no file {file}", _where_it_is_not(file))
        case PermissionError():
            return NotPermitted(
                f"{file} may not be read", "`ls -l` says who may; `chmod` lets you."
            )
        case IsADirectoryError():
            return NotFound(f"{file} is a folder", "Name a file in it.")
        case _:
            return NotFound(f"Cannot read {file}: {fault.strerror or fault}", "Is it a plain file?")


def _where_it_is_not(file: Path) -> str:
    if not file.absolute().parent.is_dir():
        return f"There is no folder {file.absolute().parent} either."
    return "Check its name." if file.is_absolute() else f"Check its name; this is {Path.cwd()}."
