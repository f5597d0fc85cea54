"""What a client's fellows are shown of what it sends (`relay.echo`)."""

from __future__ import annotations

from megabot_cli.protocol.compression import is_gzip
from megabot_cli.protocol.envelope import peek
from megabot_cli.protocol.frames import BINARY, TEXT, server_frame
from megabot_cli.relay.corner import with_corner
from megabot_cli.relay.local_client import LocalClient
from megabot_cli.relay.parts import RelayParts
from megabot_cli.relay.roster import Roster
from megabot_cli.relay.unfolding import Unfolding, messages_within


class Echo:
    """Shows messages to all of a session but their sender."""

    def __init__(self, parts: RelayParts, roster: Roster) -> None:
        self._unfold = Unfolding(parts)
        self._roster = roster

    def show(self, sender: LocalClient, data: bytes, *, binary: bool) -> None:
        """Show a message that went up. A tool call in it is the upstream's to carry out: only
        who can tell that it looks on is shown it, marked."""
        text = self._unfold.text(data, binary)
        inner = messages_within(text) or []
        if any(map(_is_call, [text, *inner])):
            for each in inner or [text]:
                self._show_text(sender, each)
            return
        frame = server_frame(data, BINARY if binary else TEXT)
        for client in self._fellows(sender):
            client.outbox.offer(frame)

    def _show_text(self, sender: LocalClient, text: bytes) -> None:
        call = _is_call(text)
        frame = server_frame(with_corner(text, {"read_only": True}) if call else text)
        for client in self._fellows(sender):
            if client.wishes.corner or not call:
                client.outbox.offer(frame)

    def _fellows(self, sender: LocalClient) -> list[LocalClient]:
        """Who waits for a greeting still hears nothing before it."""
        everybody = self._roster.clients.values()
        return [each for each in everybody if each is not sender and each.greeted]


def is_still_binary(sent: bytes, came: list[bytes]) -> bool:
    """Whether what went up of binary messages that came is binary too.

    What was taken out of a batch is text; gzip is packed anew where our corner was taken out.
    """
    return is_gzip(sent) or any(sent is each for each in came)


def _is_call(text: bytes) -> bool:
    head = peek(text)
    return head is not None and head.type == "tool_call"
