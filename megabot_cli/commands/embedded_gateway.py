"""A gateway inside the relay's process: `megabot relay --gateway` needs nothing else."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from megabot_cli.errors import WrongUsage

if TYPE_CHECKING:
    from megabot_cli.commands.invocation import Invocation

USERNAME = "relay"


@dataclass(frozen=True)
class Embedded:
    """Where the gateway is, and the login of the one user that it has."""

    url: str
    login: tuple[str, str] = field(repr=False)


@asynccontextmanager
async def embedded_gateway(invocation: Invocation) -> AsyncIterator[Embedded]:
    """Run a gateway on `gateway.listen`; users, key and sessions are gone when it stops."""
    from megabot_cli.commands.assistant_key import model_key
    from megabot_cli.gateway.accounts import Users
    from megabot_cli.gateway.assistants.choice import open_assistant
    from megabot_cli.gateway.keys import Keys
    from megabot_cli.gateway.server import Gateway

    settings = invocation.configuration.settings
    if settings.gateway.dialect == "flat" or invocation.configuration.profile.dialect == "flat":
        raise WrongUsage(
            "relay --gateway speaks the megabot dialect only",
            "Start `megabot gateway --dialect flat` and give the relay its URL and token.",
        )
    users, password = Users.in_memory(), secrets.token_urlsafe(24)
    users.add(USERNAME, password)
    gateway = Gateway(
        settings.gateway,
        settings.limits,
        users,
        keys=Keys.in_memory(),
        assistant=open_assistant(settings.gateway, lambda: model_key(invocation)),
    )
    await gateway.start()
    try:
        yield Embedded(gateway.url, (USERNAME, password))
    finally:
        await gateway.stop()
