"""The clock of a replay, steered."""

from __future__ import annotations

import asyncio
import time

from megabot_cli.replay.transport import FASTEST, Transport


class Steps:
    """Waits for positions one after the other, and notes which were reached."""

    def __init__(self, transport: Transport, *positions: float) -> None:
        self.reached: list[float] = []
        self._task = asyncio.ensure_future(self._go(transport, positions))

    async def _go(self, transport: Transport, positions: tuple[float, ...]) -> None:
        for position in positions:
            if await transport.until(position) is None:
                return
            self.reached.append(position)

    async def over(self) -> list[float]:
        async with asyncio.timeout(5):
            await self._task
        return self.reached


def transport(speed: float = 1.0, *, paused: bool = False) -> Transport:
    made = Transport(speed, paused=paused)
    made.start()
    return made


async def some_turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_position_is_reached_when_its_time_has_come() -> None:
    before = time.monotonic()
    clock = transport(speed=10)
    after = time.monotonic()
    due = await clock.until(0.5)
    reached = time.monotonic()
    assert due is not None
    assert before + 0.049 <= due <= after + 0.051
    assert reached >= due


async def test_nothing_leaves_while_it_is_paused_and_no_time_is_lost() -> None:
    clock = transport()
    clock.pause()
    steps = Steps(clock, 0.2, 0.25)
    await asyncio.sleep(0.3)
    assert steps.reached == []
    assert clock.position < 0.2
    clock.resume()
    assert await steps.over() == [0.2, 0.25]


async def test_a_step_lets_the_next_message_go_and_only_that() -> None:
    clock = transport(paused=True)
    steps = Steps(clock, 5.0, 100.0)
    other = Steps(clock, 7.0)
    await some_turns()
    clock.step()
    await some_turns()
    assert (steps.reached, other.reached) == ([5.0], [])
    clock.step()
    await some_turns()
    assert (steps.reached, other.reached) == ([5.0], [7.0])
    clock.step()
    assert await steps.over() == [5.0, 100.0]


async def test_each_step_is_for_a_message_also_those_that_came_before_one_waited() -> None:
    """As a script sends them, or a key that is held."""
    clock = transport(paused=True)
    clock.step()
    clock.step()
    steps = Steps(clock, 5.0, 6.0, 7.0, 8.0)
    await some_turns()
    assert steps.reached == [5.0, 6.0]
    clock.step()
    clock.step()
    assert await steps.over() == [5.0, 6.0, 7.0, 8.0]
    clock.step()
    clock.resume()  # what nobody took is over with that
    clock.pause()
    late = Steps(clock, 60.0)
    await some_turns()
    assert late.reached == []
    clock.stop()
    await late.over()


async def test_a_step_passes_what_is_no_message_and_is_left_for_the_message_after_it() -> None:
    """As a client that comes before it sends anything."""
    clock = transport(paused=True)

    async def come_and_send() -> float | None:
        await clock.until(5.0, is_message=False)
        await asyncio.sleep(0.01)  # it dials
        return await clock.until(6.0)

    sent = asyncio.ensure_future(come_and_send())
    await some_turns()
    clock.step()
    async with asyncio.timeout(5):
        assert await sent is not None
    assert clock.position == 6.0


async def test_the_speed_can_be_changed_under_way() -> None:
    clock = transport()
    steps = Steps(clock, 60.0)
    await some_turns()
    clock.set_speed(1e9)
    assert clock.speed == FASTEST
    assert await steps.over() == [60.0]
    clock.slower()
    assert clock.speed == FASTEST / 2


async def test_who_waits_hears_that_it_was_stopped() -> None:
    clock = transport(paused=True)
    steps = Steps(clock, 5.0, 6.0)
    turn = asyncio.ensure_future(clock.turn())
    await some_turns()
    clock.stop()
    assert await steps.over() == []
    assert await turn is False


async def test_where_time_decides_nothing_a_pause_still_holds() -> None:
    clock = transport(paused=True)
    turn = asyncio.ensure_future(clock.turn())
    await some_turns()
    assert not turn.done()
    clock.step()
    assert await turn is True


async def test_what_a_round_left_behind_holds_up_none_of_the_next() -> None:
    clock = transport()
    left = asyncio.ensure_future(clock.until(0.02))
    await some_turns()
    left.cancel()
    await some_turns()
    clock.close()
    clock.start()
    assert await Steps(clock, 0.03).over() == [0.03]
    clock.close()
