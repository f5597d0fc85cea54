"""What the relay itself says to clients. Everything it says is recorded as `inject`."""

from __future__ import annotations

from typing import Any

from megabot_cli.client.dial import Greeting
from megabot_cli.protocol.envelope import peek
from megabot_cli.relay.link import Link
from megabot_cli.relay.local_client import LocalClient
from megabot_cli.relay.parts import RelayParts, notice
from megabot_cli.relay.ring import Recovery


class Voice:
    """Speaks to the clients of one link."""

    def __init__(self, parts: RelayParts, link: Link) -> None:
        self._witness = parts.witness
        self._numbers = parts.numbers
        self._link = link

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
        self._numbers.error_answers[error] += 1
        payload: dict[str, object] = {"error": error, "message": message, "code": code}
        self.tell(
            client,
            notice("connection_error", payload, session_id=self.session_id, reply_to=message_id),
        )

    def status(self, client: LocalClient, status: str, message: str) -> None:
        payload: dict[str, object] = {"status": status, "message": message}
        self.tell(client, notice("status_update", payload, session_id=self.session_id))

    def greet(
        self,
        client: LocalClient,
        greeting: Greeting,
        cursor: str,
        recovery: Recovery | None,
    ) -> None:
        """`connection_established`; who asked for it hears its cursor and what it recovered.

        A client of a flat upstream is greeted with the upstream's own words.
        """
        if greeting.dialect == "flat":
            self.tell(client, greeting.text.encode())
            return
        payload: dict[str, object] = {
            "session_id": self.session_id,
            "user_id": greeting.user_id,
            "capabilities": list(greeting.capabilities),
        }
        corner: dict[str, Any] | None = None
        if client.wishes.corner or recovery is not None:
            corner = {"cursor": cursor}
        if corner is not None and recovery is not None:
            corner["recovered"] = recovery.recovered
            if recovery.reason is not None:
                corner["reason"] = recovery.reason
        text = notice("connection_established", payload, session_id=self.session_id, corner=corner)
        self.tell(client, text)
