"""What the relay itself says to clients. Everything it says is recorded as `inject`."""

from __future__ import annotations

from typing import Any

import msgspec

from megabot_cli.client.dial import Greeting
from megabot_cli.protocol.envelope import peek
from megabot_cli.relay.corner import with_corner
from megabot_cli.relay.flat_routing import told_id
from megabot_cli.relay.link import Link
from megabot_cli.relay.local_client import LocalClient
from megabot_cli.relay.parts import RelayParts, notice
from megabot_cli.relay.ring import Recovery
from megabot_cli.wording import counted


class Voice:
    """Speaks to the clients of one link."""

    def __init__(self, parts: RelayParts, link: Link) -> None:
        self._witness = parts.witness
        self._numbers = parts.numbers
        self._link = link
        self._is_flat = parts.profile.dialect == "flat"

    @property
    def session_id(self) -> str | None:
        return self._link.life.session_id

    def tell(self, client: LocalClient, text: bytes) -> None:
        self._witness.message(
            "to_client",
            text,
            peek(text),
            link=self._link.id,
            session=self.session_id,
            client=client.id,
            kind="inject",
        )
        client.send(text)

    def refuse(
        self, client: LocalClient, message_id: str | None, code: int, error: str, message: str
    ) -> None:
        """Answer a message of this client, and nobody else, with a `connection_error`."""
        self.tell(client, self._error(message_id, code, error, message))

    def warn(self, client: LocalClient, code: int, error: str, message: str) -> None:
        """Tell this client, once, what is wrong now; it is about no message."""
        text = self._error(None, code, error, message)
        client.of_no_message.append(text)
        self.tell(client, text)

    def _error(self, message_id: str | None, code: int, error: str, message: str) -> bytes:
        self._numbers.error_answers[error] += 1
        payload: dict[str, object] = {"error": error, "message": message, "code": code}
        reply_to = told_id(message_id) if self._is_flat else message_id
        return notice("connection_error", payload, session_id=self.session_id, reply_to=reply_to)

    def status(self, client: LocalClient, status: str, message: str) -> None:
        payload: dict[str, object] = {"status": status, "message": message}
        self.tell(client, notice("status_update", payload, session_id=self.session_id))

    def upstream_away(self, client: LocalClient, why: str) -> None:
        text = f"the upstream is away: {why}; messages wait and are sent when it is back"
        self.status(client, "reconnecting", text)

    def greet(
        self,
        client: LocalClient,
        greeting: Greeting,
        cursor: str,
        recovery: Recovery | None,
    ) -> None:
        """`connection_established`; who asked for it hears its cursor and what it recovered.

        A client of a flat upstream is greeted with the upstream's own words; what it recovered it
        hears in its dialect.
        """
        corner: dict[str, Any] | None = None
        if client.wishes.corner or recovery is not None:
            corner = {"cursor": cursor}
        if corner is not None and recovery is not None:
            corner["recovered"] = recovery.recovered
            if recovery.reason is not None:
                corner["reason"] = recovery.reason
        if greeting.dialect == "flat":
            self._greet_flat(client, greeting.text.encode(), corner, recovery)
            return
        payload: dict[str, object] = {
            "session_id": self.session_id,
            "user_id": greeting.user_id,
            "capabilities": list(greeting.capabilities),
        }
        text = notice("connection_established", payload, session_id=self.session_id, corner=corner)
        self.tell(client, text)

    def _greet_flat(
        self,
        client: LocalClient,
        greeting: bytes,
        corner: dict[str, Any] | None,
        recovery: Recovery | None,
    ) -> None:
        if client.wishes.corner and corner is not None:
            self.tell(client, with_corner(greeting, corner))
            return
        self.tell(client, greeting)
        if recovery is not None:
            said = {
                "type": "status",
                "content": _in_words(recovery),
                "metadata": {"megabot": corner},
            }
            self.tell(client, msgspec.json.encode(said))


def _in_words(recovery: Recovery) -> str:
    follow = f"{counted(len(recovery.messages), 'message')} that you missed"
    if recovery.reason is None:
        return f"Recovered: {follow}"
    return f"Not recovered ({recovery.reason}): {follow}, and there may have been more"
