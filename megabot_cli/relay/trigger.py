"""Write the flight recorder by itself, when a record comes that somebody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from megabot_cli.config.schema import RelaySettings
from megabot_cli.errors import BadConfiguration, MegabotError
from megabot_cli.recording.conditions import Condition
from megabot_cli.recording.record import Record
from megabot_cli.relay.taps import Tap

log = structlog.get_logger("relay")

AFTERMATH_S = 1.0  # what follows the record is often what explains it
MOST_AT_ONCE = 200  # records that are asked in one go


class Trigger:
    """Asks every record that passes whether `condition` holds, and calls `dump` when it does.

    It looks on like a watcher: what is asked is without secrets, takes its time elsewhere, and
    when it lags it loses records rather than hold one up. Raises BadConfiguration for what is
    no condition.
    """

    def __init__(self, condition: str, rest_s: float) -> None:
        """`rest_s`: what one dump covers, and so the least time between two of them."""
        try:
            self._condition = Condition(condition)
            self._condition.prepare()
        except MegabotError as fault:
            raise BadConfiguration(
                f"relay.flight_recorder_trigger: {fault.message}", fault.hint
            ) from None
        self.text = condition
        self.hits = 0
        self._rest_s = rest_s
        self._rested_at = 0.0  # of the event loop's clock
        self._due = False  # a dump that has not begun yet
        self._reason = f"trigger: {condition}"

    async def watch(self, tap: Tap, dump: Callable[[str], Awaitable[None]]) -> None:
        """Look on until cancelled; what is due then is written at once."""
        dumps: asyncio.Task[None] | None = None
        try:
            while True:
                await tap.wait()
                while records := tap.take(MOST_AT_ONCE):
                    if (hit := await self._sought(records)) is None:
                        continue
                    self.hits += 1
                    if dumps is None or dumps.done():
                        dumps = self._dump_in_time(hit, dump)
        finally:
            if dumps is not None and not dumps.done():
                if self._due:
                    dumps.cancel()
                    await dump(self._reason)
                else:
                    await asyncio.wait([dumps])

    async def _sought(self, records: list[Record]) -> Record | None:
        """The first record of which it holds."""
        if self._condition.is_plain:
            return self._first(records)
        return await asyncio.to_thread(self._first, records)

    def _first(self, records: list[Record]) -> Record | None:
        return next((record for record in records if self._condition.holds(record)), None)

    def _dump_in_time(
        self, hit: Record, dump: Callable[[str], Awaitable[None]]
    ) -> asyncio.Task[None]:
        """Soon; or, when one was written lately, as soon as the next would not repeat it."""
        loop = asyncio.get_running_loop()
        wait_s = max(AFTERMATH_S, self._rested_at - loop.time())
        log.info(
            "flight_recorder.triggered",
            condition=self.text,
            kind=hit.kind,
            type=hit.type,
            id=hit.id,
            written_in_s=round(wait_s, 1),
        )

        async def work() -> None:
            await asyncio.sleep(wait_s)
            self._due = False
            self._rested_at = loop.time() + self._rest_s
            await dump(self._reason)

        self._due = True

        return loop.create_task(work(), name="triggered dump")


def trigger_of(settings: RelaySettings) -> Trigger | None:
    """What writes the flight recorder by itself. Raises BadConfiguration."""
    if settings.flight_recorder_trigger is None:
        return None
    if not settings.flight_recorder_s:
        raise BadConfiguration(
            "relay.flight_recorder_trigger writes the flight recorder, which is off",
            "Say how much it keeps: --ring 5m, or relay.flight_recorder_s.",
        )
    return Trigger(settings.flight_recorder_trigger, settings.flight_recorder_s)
