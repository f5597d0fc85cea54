"""One authenticated connection to a MegaBot endpoint. `MegaBotClient` is the public part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from megabot_cli.client.answers import Answer
    from megabot_cli.client.connection import ClientEvent, MegaBotClient, Received

__all__ = ["Answer", "ClientEvent", "MegaBotClient", "Received"]


def __getattr__(name: str) -> Any:
    """Load the client only when somebody wants it: commands that need no socket stay quick."""
    if name == "Answer":
        from megabot_cli.client import answers

        return answers.Answer
    if name in __all__:
        from megabot_cli.client import connection

        return getattr(connection, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
