"""`megabot logout`: forget credentials."""

from __future__ import annotations

from typing import Annotated

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.tree import examples, forms


@forms("text", "json")
@examples(("megabot logout", "This profile"), ("megabot logout --all", "Every profile"))
def logout(
    context: typer.Context,
    everyone: Annotated[bool, typer.Option("--all", help="Forget every profile's.")] = False,
) -> None:
    """Forget the credential of a profile.

    It is removed from where it was kept; the upstream is not told, and the token stays
    valid until it expires. The address that `login --url` remembered is forgotten too.
    """
    invocation: Invocation = context.obj
    from megabot_cli.commands.remembered import remember_url, remembered_urls

    store = invocation.credentials
    profiles = store.profiles() if everyone else [invocation.configuration.profile_name]
    addresses = remembered_urls(invocation.places.logins)
    for profile in profiles:
        remember_url(invocation.places.logins, profile, None)
    forgotten = [profile for profile in profiles if store.forget(profile)]
    if invocation.output == "json":
        invocation.console.json({"forgotten": forgotten})
    elif forgotten:
        named = [_with_address(profile, addresses.get(profile)) for profile in forgotten]
        invocation.console.note(f"Forgotten: {', '.join(named)}.")
    else:
        invocation.console.note("There was nothing to forget.")


def _with_address(profile: str, url: str | None) -> str:
    """What goes with a credential: without it the next login is elsewhere."""
    return profile if url is None else f"{profile} and its address {url}"
