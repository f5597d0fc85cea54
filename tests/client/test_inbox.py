from __future__ import annotations

import asyncio

import pytest

from megabot_cli.client.inbox import Inbox
from megabot_cli.client.received import Received
from megabot_cli.errors import ConnectionLost


def message(number: int, size: int = 1) -> Received:
    return Received(f"{number}".ljust(size), None, float(number))


def numbers(found: list[Received]) -> list[int]:
    return [int(received.at) for received in found]


async def rest(inbox: Inbox) -> list[int]:
    return numbers([received async for received in inbox])


async def test_messages_come_in_order_and_those_before_the_end_still_do() -> None:
    inbox = Inbox(lambda _: None)
    for number in range(5):
        inbox.put(message(number))
    inbox.end(None)
    assert await rest(inbox) == [0, 1, 2, 3, 4]


async def test_the_end_is_told_after_what_came_before_it() -> None:
    inbox = Inbox(lambda _: None)
    inbox.put(message(1))
    inbox.end(ConnectionLost("gone"))
    assert (await anext(inbox)).at == 1.0
    for _ in range(2):
        with pytest.raises(ConnectionLost, match="gone"):
            await anext(inbox)


async def test_a_reader_waits_for_what_comes() -> None:
    inbox = Inbox(lambda _: None)
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(rest(inbox))
        for number in range(3):
            await asyncio.sleep(0)
            inbox.put(message(number))
        inbox.end(None)
    assert reader.result() == [0, 1, 2]


async def test_two_readers_share_and_both_end() -> None:
    inbox = Inbox(lambda _: None)
    async with asyncio.TaskGroup() as group:
        readers = [group.create_task(rest(inbox)) for _ in range(2)]
        for number in range(10):
            await asyncio.sleep(0)
            inbox.put(message(number))
        await asyncio.sleep(0)
        inbox.end(None)
    assert sorted(readers[0].result() + readers[1].result()) == list(range(10))


async def test_beyond_so_many_messages_the_oldest_go_and_are_told_once() -> None:
    gaps: list[int] = []
    inbox = Inbox(gaps.append, messages=3)
    for number in range(10):
        inbox.put(message(number))
    assert gaps == []
    inbox.end(None)
    assert await rest(inbox) == [7, 8, 9]
    assert gaps == [7]
    assert inbox.missed == 7


async def test_beyond_so_many_characters_the_oldest_go() -> None:
    inbox = Inbox(lambda _: None, characters=100)
    for number in range(5):
        inbox.put(message(number, 40))
    inbox.end(None)
    assert await rest(inbox) == [3, 4]


async def test_one_message_is_kept_however_long_it_is() -> None:
    inbox = Inbox(lambda _: None, characters=100)
    inbox.put(message(1, 1000))
    inbox.end(None)
    assert await rest(inbox) == [1]


async def test_room_that_was_read_free_is_used_again() -> None:
    gaps: list[int] = []
    inbox = Inbox(gaps.append, messages=2, characters=100)
    for number in range(100):
        inbox.put(message(number, 50))
        assert (await anext(inbox)).at == number
    assert gaps == []


async def test_a_reader_that_is_cancelled_takes_nothing_with_it() -> None:
    inbox = Inbox(lambda _: None)
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(rest(inbox))
        await asyncio.sleep(0)
        reader.cancel()
    inbox.put(message(1))
    inbox.end(None)
    assert await rest(inbox) == [1]


async def test_all_that_waits_can_be_had_at_once_up_to_the_end() -> None:
    inbox = Inbox(lambda _: None)
    for number in range(3):
        inbox.put(message(number))
    assert numbers(await inbox.get_all()) == [0, 1, 2]
    inbox.put(message(3))
    inbox.end(ConnectionLost("gone"))
    assert numbers(await inbox.get_all()) == [3]
    with pytest.raises(ConnectionLost, match="gone"):
        await inbox.get_all()
