"""What the program keeps for itself: written, or an error that says what stands in the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from megabot_cli.errors import BadConfiguration, is_disk_full


@contextmanager
def own_file(path: Path) -> Iterator[None]:
    """Write `path`, or below it, in here. BadConfiguration where that cannot be."""
    try:
        yield
    except OSError as fault:
        raise BadConfiguration(
            f"{path} cannot be written: {fault.strerror or fault}",
            "Make room, or name a folder elsewhere with MEGABOT_HOME."
            if is_disk_full(fault)
            else "Name a folder of your own with MEGABOT_HOME.",
        ) from None


def ensure_client_token(file: Path) -> str:
    """The token that local programs show where one is demanded; made at the first start."""
    import secrets

    from megabot_cli.commands.upstream import client_token
    from megabot_cli.storage.private_files import replace_private

    found = client_token(file)
    if found is None:
        found = secrets.token_urlsafe(32)
        with own_file(file):
            replace_private(file, f"{found}\n".encode())
    return found
