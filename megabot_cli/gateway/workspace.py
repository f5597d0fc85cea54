"""Shared workspaces: what one participant does, all the others see."""

from __future__ import annotations

from typing import Protocol

from megabot_cli.gateway import outgoing
from megabot_cli.gateway.accounts import User

MOST_JOINED = 100  # workspaces of one connection


class Participant(Protocol):
    """A connection as a workspace sees it."""

    user: User

    def send(self, message: bytes) -> None: ...


class Workspaces:
    """Who is where. A workspace is there as long as somebody is in it."""

    def __init__(self) -> None:
        self._participants: dict[str, list[Participant]] = {}

    def __len__(self) -> int:
        return len(self._participants)

    def joined(self, participant: Participant) -> list[str]:
        return [name for name, those in self._participants.items() if participant in those]

    def join(self, name: str, participant: Participant, message_id: str) -> None:
        """Enter, and tell everybody, the newcomer in answer to its message."""
        those = self._participants.setdefault(name, [])
        if participant not in those:
            for other in those:
                other.send(self._news(name, f"{participant.user.name} joined", those, participant))
            those.append(participant)
        participant.send(self._news(name, "Joined", those, reply_to=message_id))

    def is_in(self, name: str, participant: Participant) -> bool:
        return participant in self._participants.get(name, ())

    def act(self, name: str, participant: Participant, action: bytes) -> None:
        """Show what a participant does to every other one."""
        for other in self._participants.get(name, ()):
            if other is not participant:
                other.send(action)

    def leave_all(self, participant: Participant) -> None:
        for name in self.joined(participant):
            those = self._participants[name]
            those.remove(participant)
            for other in those:
                other.send(self._news(name, f"{participant.user.name} left", those))
            if not those:
                del self._participants[name]

    def _news(
        self,
        name: str,
        title: str,
        those: list[Participant],
        newcomer: Participant | None = None,
        *,
        reply_to: str | None = None,
    ) -> bytes:
        present = those if newcomer is None else [*those, newcomer]
        names = ", ".join(dict.fromkeys(one.user.name for one in present))
        payload = {
            "type": "info",
            "title": title,
            "message": f"In {name} now: {names}.",
            "dismissible": True,
            "participants": list(dict.fromkeys(one.user.user_id for one in present)),
        }
        return outgoing.message("notification", payload, session_id=name, reply_to=reply_to)
