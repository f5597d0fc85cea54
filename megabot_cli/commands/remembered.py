"""The addresses of earlier logins, so that `login --url URL` need not be said again.

One JSON object, profile → URL. A configuration file that names the address outranks it.
"""

from __future__ import annotations

import json
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
    from megabot_cli.storage.private_files import replace_private

    before = remembered_urls(file)
    after = {name: each for name, each in before.items() if name != profile}
    if url is not None:
        after[profile] = url
    if after != before:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_private(file, json.dumps(after, indent=1).encode())
