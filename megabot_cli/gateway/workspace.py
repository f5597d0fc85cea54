"""Shared workspaces: what one participant does, all the others see."""

from __future__ import annotations

from typing import Literal, Protocol

from megabot_cli.gateway import outgoing
from megabot_cli.gateway.accounts import User

MOST_JOINED = 100  # workspaces of one connection

Event = Literal["joined", "left"]


class Participant(Protocol):
    """A connection as a workspace sees it."""

    user: User
    platform: str | None

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
            those.append(participant)
            self._tell_others(name, participant, "joined")
        participant.send(self._news(name, participant, "joined", "Joined", reply_to=message_id))

    def leave(self, name: str, participant: Participant, message_id: str) -> None:
        """Go out, and tell everybody, the leaver in answer to its message."""
        self._remove(name, participant)
        participant.send(self._news(name, participant, "left", "Left", reply_to=message_id))

    def is_in(self, name: str, participant: Participant) -> bool:
        return participant in self._participants.get(name, ())

    def act(self, name: str, participant: Participant, action: bytes) -> None:
        """Show what a participant does to every other one."""
        for other in self._participants.get(name, ()):
            if other is not participant:
                other.send(action)

    def leave_all(self, participant: Participant) -> None:
        for name in self.joined(participant):
            self._remove(name, participant)

    def _remove(self, name: str, participant: Participant) -> None:
        those = self._participants[name]
        those.remove(participant)
        self._tell_others(name, participant, "left")
        if not those:
            del self._participants[name]

    def _tell_others(self, name: str, participant: Participant, event: Event) -> None:
        title = f"{participant.user.name} {event}"
        for other in self._participants[name]:
            if other is not participant:
                other.send(self._news(name, participant, event, title))

    def _news(
        self,
        name: str,
        participant: Participant,
        event: Event,
        title: str,
        *,
        reply_to: str | None = None,
    ) -> bytes:
        """What happened, for a person and for a program that shows who is there."""
        present = self._participants.get(name, [])
        names = ", ".join(dict.fromkeys(one.user.name for one in present)) or "nobody"
        payload = {
            "type": "info",
            "title": title,
            "message": f"In {name} now: {names}.",
            "dismissible": True,
            "event": event,
            "user_id": participant.user.user_id,
            "participants": list(dict.fromkeys(one.user.user_id for one in present)),
        }
        if participant.platform is not None:
            payload["platform"] = participant.platform
        return outgoing.message("notification", payload, session_id=name, reply_to=reply_to)
