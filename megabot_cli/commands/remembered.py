"""What is remembered between commands, so that it need not be said again.

The addresses of earlier logins: one JSON object, profile → URL; a configuration file that names
the address outranks it. And the profile of `config use`: its name, in a file of its own.
"""

from __future__ import annotations

import json
import os
from pathlib import Path


def remembered_urls(file: Path) -> dict[str, str]:
    """What is remembered; nothing when the file is not there or not ours."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: url for name, url in found.items() if isinstance(url, str)}


def remember_url(file: Path, profile: str, url: str | None) -> None:
    """Remember where a profile logged in; None forgets it."""
    from megabot_cli.commands.own_files import own_file
    from megabot_cli.storage.private_files import replace_private

    before = remembered_urls(file)
    after = {name: each for name, each in before.items() if name != profile}
    if url is not None:
        after[profile] = url
    if after != before:
        with own_file(file):
            replace_private(file, json.dumps(after, indent=1).encode())


def chosen_profile(file: Path) -> str | None:
    """The profile that was chosen for good; None when none was, or nobody can read which."""
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def choose_profile(file: Path, profile: str | None) -> None:
    """Choose a profile for good; None goes back to what the configuration says."""
    from megabot_cli.commands.own_files import own_file
    from megabot_cli.storage.private_files import replace_private

    with own_file(file):
        if profile is None:
            if os.path.lexists(file):  # a read-only disk refuses to remove nothing, too
                file.unlink(missing_ok=True)
        else:
            replace_private(file, f"{profile}\n".encode())
