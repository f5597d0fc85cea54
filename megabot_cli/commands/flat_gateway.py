"""What differs when `megabot gateway` speaks the flat dialect: a static token, no users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from megabot_cli.errors import BadConfiguration, WrongUsage

if TYPE_CHECKING:
    from megabot_cli.commands.invocation import Invocation
    from megabot_cli.config.schema import Settings
    from megabot_cli.gateway.flat import FlatGateway

TOKEN_VARIABLE = "MEGABOT_FLAT_TOKEN"  # noqa: S105  the name of a variable


@dataclass(frozen=True)
class StaticToken:
    """The token in force; one that was made just now is shown once."""

    secret: str = field(repr=False)
    made: bool


def static_token(environ: Mapping[str, str], folder: Path | None) -> StaticToken:
    """The token of the environment, else the one kept in `folder`, else a new one.

    Without a folder nothing is kept.
    """
    from megabot_cli.client.login_requests import is_sendable
    from megabot_cli.gateway.flat import load_token, new_token

    if given := environ.get(TOKEN_VARIABLE):
        if not is_sendable(given):
            raise BadConfiguration(
                f"{TOKEN_VARIABLE} holds characters that cannot be sent",
                "Use letters, digits, - and _.",
            )
        return StaticToken(given, made=False)
    if folder is None:
        return StaticToken(new_token(), made=True)
    return StaticToken(*load_token(folder))


def open_flat_gateway(
    invocation: Invocation, settings: Settings, token: StaticToken
) -> FlatGateway:
    from megabot_cli.commands.assistant_key import model_key
    from megabot_cli.gateway.assistants.choice import open_assistant
    from megabot_cli.gateway.flat import FlatGateway

    with invocation.blaming_flags("gateway", "assistant"):
        assistant = open_assistant(settings.gateway, lambda: model_key(invocation))
    return FlatGateway(settings.gateway, settings.limits, token=token.secret, assistant=assistant)


def refuse_users(*, username: str | None, users_file: Path | None) -> None:
    """There is nobody to log in where a token is all that is asked for."""
    if username is not None or users_file is not None:
        raise WrongUsage(
            "--username and --users have no meaning with --dialect flat",
            f"Whoever has the token may come in; {TOKEN_VARIABLE} sets it.",
        )


def guest_environment(url: str, token: StaticToken) -> dict[str, str]:
    """What lets a command in that is run against the gateway."""
    return {"MEGABOT_URL": url, "MEGABOT_DIALECT": "flat", "MEGABOT_API_KEY": token.secret}
