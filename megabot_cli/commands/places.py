"""Where things are on this machine: the configuration file, recordings, credentials, run files."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from megabot_cli.errors import BadConfiguration


@dataclass(frozen=True)
class Places:
    """Folders are made by whoever writes into them; any of these may not exist yet."""

    config_file: Path
    data: Path
    state: Path
    config_named: bool = False  # somebody asked for this very file: then it must exist

    @property
    def recordings(self) -> Path:
        return self.data / "recordings"

    @property
    def credentials(self) -> Path:
        return self.data / "credentials"

    @property
    def logins(self) -> Path:
        """Where each profile logged in."""
        return self.data / "logins.json"

    @property
    def chosen_profile(self) -> Path:
        """What `config use` chose."""
        return self.data / "profile"

    @property
    def run(self) -> Path:
        """Who runs now: a run file of each relay."""
        return self.state / "run"


def find_places(environ: Mapping[str, str], config_file: Path | None = None) -> Places:
    """Decide on all places. MEGABOT_HOME puts everything in one folder.

    Else the system's own places are taken (XDG on Linux); on a machine without a home
    folder, one in the temporary folder that belongs to this user alone.
    """
    named = config_file or _named(environ.get("MEGABOT_CONFIG"))
    home = _named(environ.get("MEGABOT_HOME"))
    if home is not None:
        home = home.absolute()
        return Places(named or home / "config.yaml", home, home / "state", named is not None)
    config, data, state = _system_places()
    return Places(named or config / "config.yaml", data, state, named is not None)


def _named(text: str | None) -> Path | None:
    return Path(text).expanduser() if text else None


def _system_places() -> tuple[Path, Path, Path]:
    import platformdirs

    places = platformdirs.PlatformDirs("megabot", appauthor=False)
    try:
        found = (places.user_config_path, places.user_data_path, places.user_state_path)
    except RuntimeError:  # how newer ones say that nobody knows the home folder …
        found = (Path("~"),) * 3
    if all(each.is_absolute() for each in found):  # … and how older ones do
        return found
    fallback = _private_temporary_folder()
    return fallback, fallback, fallback / "state"


def _private_temporary_folder() -> Path:
    """A folder that nobody else can have prepared for us."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"megabot-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or found.st_mode & 0o077:
        raise BadConfiguration(
            f"There is no home folder, and {folder} is not ours alone",
            "Set MEGABOT_HOME to a folder of your own.",
        )
    return folder
