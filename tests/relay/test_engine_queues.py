"""Messages wait in order, fairly, within bounds, and none goes silently."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.config.schema import LimitSettings, RelaySettings
from megabot_cli.relay.engine import SessionQueue
from megabot_cli.relay.upstream_queue import Waiting
from tests.relay.engines import engine_under_test, new_engine

__all__ = ["engine_under_test"]


def waiting(
    client: str, number: int, at: float = 0.0, size: int = 10, *, urgent: bool = False
) -> Waiting:
    return Waiting(client, f"{client}-{number}", b"x" * size, False, at, urgent=urgent)


def new_queue(**relay: float) -> SessionQueue:
    return new_engine().open_queue(LimitSettings(queue=5), RelaySettings(**relay))  # type: ignore[arg-type]


@given(st.lists(st.sampled_from("abc"), max_size=15))
def test_any_arrivals_leave_once_each_and_in_order_per_client(arrivals: list[str]) -> None:
    queue = new_queue()
    accepted: dict[str, list[str | None]] = {"a": [], "b": [], "c": []}
    for number, client in enumerate(arrivals):
        message = waiting(client, number)
        if queue.offer(message, link_up=True) is None:
            accepted[client].append(message.message_id)
    left: dict[str, list[str | None]] = {"a": [], "b": [], "c": []}
    while (taken := queue.take()) is not None:
        left[taken.client].append(taken.message_id)
    assert left == accepted
    assert (len(queue), queue.bytes) == (0, 0)


def test_turns_are_taken_between_clients() -> None:
    queue = new_queue()
    for number in range(3):
        queue.offer(waiting("busy", number), link_up=True)
    queue.offer(waiting("quiet", 0), link_up=True)
    order = [taken.client for taken in iter(queue.take, None)]
    assert order == ["busy", "quiet", "busy", "busy"]


def test_a_client_over_its_own_bound_is_told_429_and_keeps_what_was_accepted() -> None:
    queue = new_queue()
    answers = [queue.offer(waiting("a", number), link_up=True) for number in range(6)]
    assert [answer.code if answer else None for answer in answers] == [None] * 5 + [429]
    assert len(queue) == 5


def test_the_bound_of_what_is_urgent_is_each_clients_own_too() -> None:
    queue = new_queue()
    for number in range(5):
        assert queue.offer(waiting("a", number, urgent=True), link_up=True) is None
    refused = queue.offer(waiting("a", 5, urgent=True), link_up=True)
    assert refused is not None
    assert refused.code == 429
    assert queue.offer(waiting("b", 0, urgent=True), link_up=True) is None
    taken = queue.take()
    assert taken is not None
    assert queue.offer(waiting("a", 6, urgent=True), link_up=True) is None
    queue.put_back([taken])
    assert queue.offer(waiting("a", 7, urgent=True), link_up=True) is not None
    assert len(queue.take_all()) == 7
    assert queue.offer(waiting("a", 8, urgent=True), link_up=True) is None


def test_what_could_not_be_written_is_first_in_line_again_in_its_order() -> None:
    queue = new_queue()
    for number in range(3):
        queue.offer(waiting("a", number), link_up=True)
    taken = [each for each in (queue.take(), queue.take()) if each is not None]
    queue.put_back(taken)
    assert [each.message_id for each in iter(queue.take, None)] == ["a-0", "a-1", "a-2"]
    assert (len(queue), queue.bytes) == (0, 0)


def test_while_the_link_is_down_all_clients_share_one_bound() -> None:
    queue = new_queue(wait_messages=2)
    assert queue.offer(waiting("a", 0), link_up=False) is None
    assert queue.offer(waiting("b", 0), link_up=False) is None
    refused = queue.offer(waiting("c", 0), link_up=False)
    assert refused is not None
    assert refused.code == 503


def test_while_the_link_is_down_no_room_is_told_as_that_also_to_a_client_at_its_own_bound() -> None:
    """Slower is no help to it: 503 says that nothing more may wait."""
    queue = new_queue(wait_messages=5)
    answers = [queue.offer(waiting("a", number), link_up=False) for number in range(6)]
    assert [answer.code if answer else None for answer in answers] == [None] * 5 + [503]
    refused = queue.offer(waiting("a", 6), link_up=True)
    assert refused is not None
    assert refused.code == 429


def test_while_the_link_is_down_bytes_are_bounded_too() -> None:
    queue = new_queue(wait_bytes=25)
    answers = [queue.offer(waiting("a", number), link_up=False) for number in range(3)]
    assert [answer.code if answer else None for answer in answers] == [None, None, 503]


def test_what_waited_too_long_comes_out_oldest_first_and_the_rest_stays() -> None:
    queue = new_queue(wait_s=30)
    queue.offer(waiting("b", 0, at=2.0), link_up=False)
    queue.offer(waiting("a", 0, at=1.0), link_up=False)
    queue.offer(waiting("a", 1, at=20.0), link_up=False)
    assert [expired.message_id for expired in queue.expire(40.0)] == ["a-0", "b-0"]
    assert len(queue) == 1
