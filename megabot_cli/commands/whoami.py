"""`megabot whoami`: identity, upstream, session, expiry, and where the secret lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.layout_words import FieldsWord, TemplateWord
from megabot_cli.commands.rows import show_facts
from megabot_cli.commands.tree import examples, forms
from megabot_cli.errors import CouldNotConnect, NotAuthenticated

if TYPE_CHECKING:
    from megabot_cli.client.credentials import Credential
    from megabot_cli.client.dial import Greeting


@forms("text", "json")
@examples(
    ("megabot whoami", "Who am I?"),
    ("megabot whoami --json | jq -r .expires_at", "Until when, in Unix seconds"),
)
def whoami(
    context: typer.Context, fields: FieldsWord = None, template: TemplateWord = None
) -> None:
    """Say who you are, where, and until when.

    Connects to make sure. An upstream that cannot be reached leaves the answer to what is
    known here; one that refuses the credential ends with 4.
    """
    from megabot_cli.commands.running import run

    invocation: Invocation = context.obj
    credential, greeting = run(_look(invocation))
    facts = _facts(invocation, credential, greeting)
    if fields is not None or template is not None:
        show_facts(invocation, facts, fields, template)
    elif invocation.output == "json":
        invocation.console.json(facts)
    else:
        _print(invocation, facts)


async def _look(invocation: Invocation) -> tuple[Credential, Greeting | None]:
    from megabot_cli.client.dial import dial, hang_up
    from megabot_cli.client.endpoint import parse_endpoint
    from megabot_cli.commands.upstream import (
        known_credential,
        not_logged_in,
        open_http,
        token_source,
        with_login_hint,
    )

    profile = invocation.configuration.profile
    endpoint = parse_endpoint(profile.url)
    known = known_credential(invocation, endpoint.origin)
    if known is None:
        raise not_logged_in(invocation)
    async with open_http(invocation) as http:
        try:
            valid = await token_source(invocation, http).current() or known
            dialed = await dial(
                http,
                endpoint,
                valid,
                platform=profile.platform,
                send_in=profile.credential_in,
                dialect=profile.dialect,
            )
            await hang_up(dialed.socket)
        except CouldNotConnect as fault:
            invocation.console.warn(f"{fault.message.rstrip('.')}. What follows was not checked.")
            return known, None
        except NotAuthenticated as refusal:
            raise with_login_hint(invocation, refusal) from None
    return valid, dialed.greeting


def _facts(
    invocation: Invocation, credential: Credential, greeting: Greeting | None
) -> dict[str, Any]:
    from megabot_cli.commands.upstream import is_from_environment

    configuration = invocation.configuration
    from_environment = is_from_environment(invocation)
    where = (
        "environment"
        if from_environment
        else invocation.credentials.where(configuration.profile_name)
    )
    return {
        "username": credential.username,
        "user_id": credential.user_id or (greeting.user_id if greeting else None),
        "profile": configuration.profile_name,
        "url": configuration.profile.url,
        "credential": credential.kind,
        "stored": where,
        "expires_at": credential.expires_at,
        "checked": greeting is not None,
        "session": (greeting.session_id or None) if greeting else None,
        "capabilities": list(greeting.capabilities) if greeting else [],
    }


def _print(invocation: Invocation, facts: dict[str, Any]) -> None:
    from megabot_cli.terminal.views import date_and_time, print_facts

    expires_at = facts["expires_at"]
    shown = [
        ("user", facts["username"] or facts["user_id"] or "unknown"),
        ("upstream", facts["url"]),
        ("profile", facts["profile"]),
        ("credential", f"{facts['credential']}, kept in {facts['stored']}"),
        ("expires", date_and_time(expires_at) if expires_at else "never, as far as it says"),
        ("session", facts["session"] or ("not named" if facts["checked"] else "not connected")),
    ]
    if facts["capabilities"]:
        shown.append(("can", ", ".join(facts["capabilities"])))
    print_facts(invocation.console, shown)
