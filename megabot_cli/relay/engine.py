"""What several relays that serve one identity would have to share, behind one interface.

`memory_engine` is the body there is: everything in this process. Another must pass the tests of
`tests/relay/test_engine*.py`, which take their engines from one list.
"""

from __future__ import annotations

from typing import Protocol

from megabot_cli.config.schema import LimitSettings, RelaySettings
from megabot_cli.relay.ring import Numbered, Recovery
from megabot_cli.relay.upstream_queue import Overflow, Waiting


class SessionRing(Protocol):
    """A session's last messages: numbered, bounded, found again by a cursor."""

    @property
    def epoch(self) -> str: ...
    @property
    def top(self) -> int: ...
    @property
    def kept_bytes(self) -> int: ...
    def __len__(self) -> int: ...
    def add(self, data: bytes, now: float, binary: bool = False, to: str | None = None) -> int:
        """Number a message and keep it; returns its `seq`."""
        ...

    def extend(self, messages: list[Numbered]) -> None:
        """Keep messages that came together, numbered already: from `top` + 1 on."""
        ...

    def resize(self, settings: RelaySettings) -> None:
        """Other bounds hold from now on."""
        ...

    def begin_epoch(self, epoch: str) -> None:
        """Forget all messages: no cursor of before is good any more. The count goes on."""
        ...

    def cursor(self, seq: int | None = None) -> str: ...
    def since(self, cursor: str, name: str, now: float) -> Recovery:
        """What a client has missed after its cursor, or why nobody can say."""
        ...

    def texts(self) -> list[bytes]:
        """All messages kept that are text, oldest first, whomever they were for."""
        ...


class SessionQueue(Protocol):
    """Messages for the holder of a session's link, who writes them upstream."""

    @property
    def count(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    def __len__(self) -> int: ...
    def offer(self, waiting: Waiting, *, link_up: bool) -> Overflow | None:
        """Accept a message, or say why not; an accepted one leaves by `take` or `expire`."""
        ...

    def resize(self, limits: LimitSettings, settings: RelaySettings) -> None:
        """Other bounds hold for what is offered from now on; what waits stays."""
        ...

    def take(self) -> Waiting | None: ...
    def take_together(self, most: int, most_bytes: int) -> list[Waiting]: ...
    def put_back(self, messages: list[Waiting]) -> None: ...
    def expire(self, now: float) -> list[Waiting]: ...
    def take_all(self) -> list[Waiting]: ...


class Engine(Protocol):
    """Leases, rings, queues and the pace of dialling.

    Every call comes from one event loop and returns at once, for some are made for each message:
    a body that needs the network keeps a copy here and catches up behind the calls. Times are
    monotonic seconds.
    """

    def claim(self, identity: str, session: str, holder: str) -> str:
        """Take the lease of a session's link unless it is taken; returns who has it now."""
        ...

    def holder(self, identity: str, session: str) -> str | None:
        """Who has the lease of a session's link, if anybody."""
        ...

    def release(self, identity: str, holder: str) -> None:
        """Everything a holder had is free again."""
        ...

    def open_ring(self, epoch: str, settings: RelaySettings) -> SessionRing: ...
    def open_queue(self, limits: LimitSettings, settings: RelaySettings) -> SessionQueue: ...
    def dial_wait_s(self, identity: str, now: float, *, first: bool = False) -> float:
        """0: dial now, the turn is taken. Else ask again after so long.

        The `first` dial of a link waits for nobody while the upstream is well.
        """
        ...

    def next_turn_s(self, identity: str, now: float) -> float:
        """After how long somebody may dial, if nobody comes first. This takes no turn."""
        ...

    def dial_ended(
        self, identity: str, now: float, *, well: bool, retry_after_s: float | None = None
    ) -> None:
        """How the last dial went sets the pace of the next; `retry_after_s`: the upstream asks
        to be left alone for so long."""
        ...

    def left_alone_s(self, identity: str, now: float) -> float:
        """How much longer the upstream asks to be left alone; 0: it does not."""
        ...
