"""A connection as a scenario sees it."""

from __future__ import annotations

from typing import Protocol

from megabot_cli.gateway.accounts import User
from megabot_cli.gateway.inbox import Arrived
from megabot_cli.gateway.sessions import Session


class Actor(Protocol):
    """What a scenario can have done on one connection."""

    user: User
    session: Session

    def handle_as_usual(self, arrived: Arrived) -> None: ...

    def send_as_usual(self, message: bytes) -> None: ...

    def send_raw(self, content: bytes, *, binary: bool) -> None: ...

    def refuse(self, error: str, text: str, code: int, reply_to: str | None) -> None: ...

    def start_close(self, code: int, reason: str) -> None: ...

    def reset(self) -> None: ...

    def begin_new_session(self) -> None: ...
