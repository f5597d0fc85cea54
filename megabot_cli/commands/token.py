"""`megabot token`: a valid token for scripts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.tree import examples, forms

if TYPE_CHECKING:
    from megabot_cli.client.credentials import Credential


@forms("text", "json")
@examples(
    ('curl -H "$(megabot token --header)" https://megabot.example/api/me', "As a header"),
    ("megabot token --json | jq -r .expires_at", "How long it holds, in Unix seconds"),
)
def token(
    context: typer.Context,
    header: Annotated[
        bool, typer.Option("--header", help="As a header: `Authorization: Bearer …`.")
    ] = False,
) -> None:
    """Print a valid token for scripts.

    It is refreshed first when it is about to expire. No other command shows a secret.
    """
    invocation: Invocation = context.obj
    credential = _valid(invocation)
    if invocation.output == "json":
        facts = {
            "kind": credential.kind,
            "token": credential.secret,
            "expires_at": credential.expires_at,
        }
        invocation.console.json(facts)
    else:
        prefix = "Authorization: Bearer " if header else ""
        invocation.console.line(f"{prefix}{credential.secret}")


def _valid(invocation: Invocation) -> Credential:
    """The credential, refreshed where that is due; most often it is not, and nothing is sent."""
    from megabot_cli.client.endpoint import parse_endpoint
    from megabot_cli.commands.running import run
    from megabot_cli.commands.upstream import known_credential, not_logged_in

    profile = invocation.configuration.profile
    credential = known_credential(invocation, parse_endpoint(profile.url).origin)
    if credential is None:
        raise not_logged_in(invocation)
    margin_s = profile.auth.refresh_margin_s
    if credential.expires_at is None or credential.expires_at > time.time() + margin_s:
        return credential
    return run(_refreshed(invocation))


async def _refreshed(invocation: Invocation) -> Credential:
    from megabot_cli.commands.upstream import not_logged_in, open_http, token_source

    async with open_http(invocation) as http:
        credential = await token_source(invocation, http).current()
    if credential is None:
        raise not_logged_in(invocation)
    return credential
