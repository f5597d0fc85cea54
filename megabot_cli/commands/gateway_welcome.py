"""What `megabot gateway` says to a person when it is ready."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from megabot_cli.commands.invocation import Invocation


def show_first_user(invocation: Invocation, made: tuple[str, str] | None, url: str) -> None:
    """The name and password of the user that was made, and what to type with them."""
    if made is None:
        return
    name, password = made
    invocation.console.note(
        f"The first user is {name}; the password, shown only this once:  {password}"
    )
    known = invocation.configuration.profile.url.replace("//localhost:", "//127.0.0.1:")
    elsewhere = "" if url == known else f" --url {url}"
    invocation.console.note(
        f"Next, in another terminal: `megabot login --username {name}{elsewhere}`"
    )


def tell_what_is_kept(invocation: Invocation, data: Path | None, users_file: Path | None) -> None:
    """What outlives the gateway, where that is not everything."""
    if data is not None:
        return
    outlives = f"{users_file} keeps the users; nothing else" if users_file else "Nothing"
    how = f"--data DIR keeps {'all' if users_file else 'it'}"
    invocation.console.note(f"{outlives} outlives this process; {how}.")
