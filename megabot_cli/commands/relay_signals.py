"""SIGUSR1 and SIGHUP of a relay: heard from its start on, heeded while it serves."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from megabot_cli.commands.running import on_signals

if TYPE_CHECKING:
    from megabot_cli.commands.supervisor import Supervisor
    from megabot_cli.relay.server import Relay


class Wishes:
    """What an operator wants by a signal. One that comes while the first dial is still under way
    would end the process by the system's own rules: it is kept until the relay serves."""

    def __init__(self) -> None:
        self._early: list[int] = []
        self._relay: Relay | None = None
        self._supervisor: Supervisor | None = None

    @contextmanager
    def heard(self, *, hang_up_reloads: bool) -> Iterator[None]:
        names = ("SIGUSR1", "SIGHUP") if hang_up_reloads else ("SIGUSR1",)
        with on_signals(names, self._came):
            yield

    def heed(self, relay: Relay, supervisor: Supervisor) -> None:
        """Do what was wanted already, and from now on what is."""
        self._relay, self._supervisor = relay, supervisor
        early, self._early = self._early, []
        for number in dict.fromkeys(early):
            self._came(number)

    def heed_no_more(self) -> None:
        """The relay stops."""
        self._relay = None

    def _came(self, number: int) -> None:
        relay, supervisor = self._relay, self._supervisor
        if relay is None or supervisor is None:
            self._early.append(number)
        elif number == getattr(signal, "SIGHUP", None):
            _reload(relay, supervisor)
        else:
            relay.operations.dump_soon("SIGUSR1")


def _reload(relay: Relay, supervisor: Supervisor) -> None:
    import structlog

    from megabot_cli.errors import MegabotError

    supervisor.reloading()
    try:
        relay.operations.reload()
        relay.operations.record_again_soon()
    except MegabotError as fault:
        structlog.get_logger("relay").error(
            "relay.not_reloaded", fault=fault.message, hint=fault.hint
        )
    supervisor.ready()
