"""Ten messages a second, a hundred waiting: excess waits, nothing accepted is lost."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.config.schema import LimitSettings
from megabot_cli.gateway.inbox import MOST_WAITING_BYTES, Arrived, Inbox
from megabot_cli.protocol.messages import ChatSend
from megabot_cli.protocol.validation import Message
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import replied_to


async def test_a_burst_is_answered_at_once_and_the_excess_at_the_rate(
    open_house: OpenHouse,
) -> None:
    house = await open_house(limits={"messages_per_second": 50.0, "burst": 5.0})
    async with house.connected() as peer:
        began = time.monotonic()
        asked = [await peer.say(f"{n}") for n in range(20)]
        await peer.answer(asked[4])
        burst = time.monotonic() - began
        await peer.answer(asked[-1])
        whole = time.monotonic() - began
    assert whole >= 15 / 50.0 - 0.01
    assert burst < whole
    answered = [replied_to(one) for one in peer.received if one["type"] == "chat_receive"]
    assert answered == asked


async def test_a_full_queue_is_429_by_name_and_loses_nothing_accepted(
    open_house: OpenHouse,
) -> None:
    limits = {"messages_per_second": 100.0, "burst": 1.0, "queue": 10}
    house = await open_house(limits=limits)
    async with house.connected() as peer:
        asked = [await peer.say(f"{n}") for n in range(60)]
        end: set[str | None] = set()
        while len(end) < len(asked):
            message = await peer.next()
            if message["type"] in ("chat_receive", "connection_error"):
                end.add(replied_to(message))
        assert end == set(asked)
        refused = [one["payload"] for one in peer.received if one["type"] == "connection_error"]
        assert refused
        assert {(one["code"], one["error"]) for one in refused} == {(429, "rate_limited")}
        told = {one["message"] for one in refused}
        assert told == {"10 messages in the queue already; at most 100 a second are handled."}
        await peer.answer(await peer.say("after the storm"))


async def test_without_a_rate_what_is_refused_hears_of_the_answers_under_way(
    open_house: OpenHouse,
) -> None:
    limits = {"messages_per_second": 0.0, "queue": 1}
    house = await open_house(limits=limits, gateway={"latency_s": 0.2})
    async with house.connected() as peer:
        for n in range(400):
            await peer.say(f"{n}")
        refused = (await peer.until("connection_error"))["payload"]
    assert refused["message"] == "1 message in the queue already; answers are under way."


async def test_the_rate_is_each_connections_own(open_house: OpenHouse) -> None:
    house = await open_house(limits={"messages_per_second": 0.1, "burst": 1.0})
    async with house.connected() as one, house.connected() as other:
        await one.answer(await one.say("first"))
        await one.say("waits")
        await other.answer(await other.say("does not wait"))


async def test_the_messages_of_a_batch_count_each(open_house: OpenHouse) -> None:
    house = await open_house(limits={"messages_per_second": 0.1, "burst": 3.0, "queue": 5})
    inner = [{"id": f"b{n}", "type": "chat_send", "payload": {"content": "x"}} for n in range(5)]
    async with house.connected() as peer:
        await peer.send("batch", {"messages": inner})
        await peer.answer("b2")
        refused = await peer.send("batch", {"messages": inner})
        assert (await peer.until("connection_error", refused))["payload"]["code"] == 429


async def test_without_a_limit_a_flood_waits_for_its_answers_or_is_refused(
    open_house: OpenHouse,
) -> None:
    house = await open_house(gateway={"latency_s": 0.001})
    async with house.connected() as peer:
        asked = [await peer.say(f"{n}") for n in range(400)]
        end: set[str | None] = set()
        while len(end) < len(asked):
            message = await peer.next()
            if message["type"] in ("chat_receive", "connection_error"):
                end.add(replied_to(message))
        assert end == set(asked)


def arrived(name: str, size: int = 10) -> Arrived:
    return Arrived(Message(id=name, type="chat_send", payload=ChatSend("x")), b"x" * size)


def test_messages_that_wait_are_bounded_in_bytes_too() -> None:
    inbox = Inbox(LimitSettings(), 0.0)
    assert inbox.accept([arrived("huge", 2 * MOST_WAITING_BYTES)])
    assert not inbox.accept([arrived("more", 1)])
    assert inbox.take(0.0) is not None
    assert inbox.accept([arrived("more", 1)])


def test_a_queue_of_none_still_handles_what_the_rate_allows() -> None:
    inbox = Inbox(LimitSettings(queue=0, burst=1.0), 0.0)
    assert inbox.accept([arrived("one")])
    assert inbox.take(0.0) is not None
    assert inbox.accept([arrived("two")])
    assert inbox.take(0.0) is None
    assert not inbox.accept([arrived("three")])


@given(
    st.lists(st.tuples(st.integers(0, 4), st.floats(0, 0.5)), max_size=60),
    st.integers(0, 5),
)
def test_any_arrivals_leave_in_order_and_never_faster_than_the_rate(
    steps: list[tuple[int, float]], queue: int
) -> None:
    now, rate, burst = 0.0, 10.0, 3.0
    inbox = Inbox(LimitSettings(messages_per_second=rate, burst=burst, queue=queue), now)
    accepted: list[str] = []
    left: list[str] = []
    for count, pause in steps:
        names = [f"{len(accepted)}-{n}" for n in range(count)]
        if names and inbox.accept([arrived(name) for name in names]):
            accepted += names
        while (one := inbox.take(now)) is not None:
            left.append(one.message.id)
        assert len(left) <= burst + rate * now + 1e-6
        assert len(inbox) <= max(1, queue)
        now += pause
    assert left == accepted[: len(left)]
    assert len(left) + len(inbox) == len(accepted)
