"""Where scenario files are: the shipped ones by name, all others by path."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import megabot_cli
from megabot_cli.config.spelling import did_you_mean
from megabot_cli.errors import BadConfiguration

_SUFFIXES = (".yaml", ".yml")


def shipped_scenarios() -> dict[str, Path]:
    """The files that come with the program, by name."""
    for folder in _folders():
        found = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
        if found:
            return found
    return {}


def find_scenario(named: str) -> Path:
    """The file that is meant. Raises BadConfiguration when there is none."""
    path = Path(named).expanduser()
    if path.is_file():
        return path
    if path.suffix in _SUFFIXES or len(path.parts) > 1:
        raise BadConfiguration(
            f"There is no scenario file {named}", "Name a file, or one of the shipped scenarios."
        )
    shipped = shipped_scenarios()
    if named not in shipped:
        hint = did_you_mean(named, shipped) or f"There are {', '.join(shipped)}; or name a file."
        raise BadConfiguration(f"There is no scenario {named!r}", hint)
    return shipped[named]


def read_text(path: Path) -> str:
    """What stands in a scenario file. Raises BadConfiguration."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        why = getattr(fault, "strerror", None) or "it is no UTF-8 text"
        raise BadConfiguration(f"Could not read the scenario {path}: {why}") from None


def _folders() -> tuple[Path, ...]:
    """In the source tree; else where an installation keeps what programs share."""
    tree = Path(megabot_cli.__file__).parents[1] / "config" / "scenarios"
    schemes = [sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user")]
    shared = [Path(sysconfig.get_path("data", scheme)) for scheme in schemes]
    return (tree, *(folder / "share" / "megabot" / "scenarios" for folder in shared))
