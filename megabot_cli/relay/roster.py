"""The clients of one session, by connection and by name."""

from __future__ import annotations

from megabot_cli.relay.local_client import LocalClient
from megabot_cli.relay.outbox import Group
from megabot_cli.relay.turn import Turn


class Roster:
    """Who is connected. A name (`client_id`) belongs to the connection that came last."""

    def __init__(self, turn: Turn) -> None:
        self.group = Group(turn)
        self.clients: dict[str, LocalClient] = {}
        self.by_name: dict[str, LocalClient] = {}
        self.corners = 0  # clients that read metadata.megabot

    def add(self, client: LocalClient) -> None:
        self.clients[client.id] = client
        self.by_name[client.name] = client
        self.corners += client.wishes.corner
        self.group.join(client.outbox)

    def remove(self, client: LocalClient) -> bool:
        """Forget a connection; True when nobody goes by its name any more."""
        del self.clients[client.id]
        self.corners -= client.wishes.corner
        self.group.leave(client.outbox)
        if self.by_name.get(client.name) is not client:
            return False
        del self.by_name[client.name]
        return True

    @property
    def executor(self) -> LocalClient | None:
        """The oldest client that carries out tool calls."""
        return next((each for each in self.clients.values() if each.wishes.executor), None)
