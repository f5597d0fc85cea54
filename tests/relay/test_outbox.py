"""An outbox writes once a turn, keeps order, and gives up on a client that does not read."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable

import pytest
import uvloop

from megabot_cli.config.schema import OutboxSettings
from megabot_cli.protocol.frames import server_frame
from megabot_cli.relay.outbox import (
    HIGH_WATER_BYTES,
    RETRY_S,
    WORTH_A_GROUP,
    Group,
    Lost,
    Outbox,
    Stalled,
)
from megabot_cli.relay.turn import Turn


class Pair:
    """A real connection: our transport at one end, a plain socket at the other."""

    def __init__(self, transport: asyncio.WriteTransport, peer: socket.socket) -> None:
        self.transport = transport
        self.peer = peer
        self.stalled: list[Stalled] = []

    def outbox(self, **settings: float) -> Outbox:
        loop = asyncio.get_running_loop()
        bounds = OutboxSettings(**settings)  # type: ignore[arg-type]
        return Outbox(self.transport, bounds, Turn(loop), self.stalled.append)

    async def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += await asyncio.get_running_loop().sock_recv(self.peer, size - len(data))
        return data

    def close(self) -> None:
        self.transport.abort()
        self.peer.close()


async def open_pair() -> Pair:
    ours, peer = socket.socketpair()
    for end in (ours, peer):
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    return Pair(transport, peer)


async def test_frames_of_one_turn_arrive_together_and_in_order() -> None:
    pair = await open_pair()
    outbox = pair.outbox()
    for number in range(5):
        outbox.offer(str(number).encode())
    assert await pair.read(5) == b"01234"
    assert outbox.empty
    pair.close()


async def test_a_full_socket_keeps_frames_and_order_until_it_is_read() -> None:
    pair = await open_pair()
    outbox = pair.outbox()
    frames = [bytes([number]) * 20_000 for number in range(40)]
    for frame in frames:
        outbox.offer(frame)
        await asyncio.sleep(0)
    assert not outbox.empty
    assert await asyncio.wait_for(pair.read(40 * 20_000), 10) == b"".join(frames)
    assert pair.stalled == []
    pair.close()


async def test_a_client_beyond_its_bounds_is_given_up_once() -> None:
    pair = await open_pair()
    outbox = pair.outbox(bytes=100_000)
    for _ in range(50):
        outbox.offer(b"x" * 10_000)
        await asyncio.sleep(0)
    assert len(pair.stalled) == 1
    assert outbox.closed
    assert outbox.waiting_bytes <= 200_000
    pair.close()


async def test_a_client_that_reads_nothing_is_given_up_after_the_stall_limit() -> None:
    pair = await open_pair()
    outbox = pair.outbox(stall_s=0.1)
    for _ in range(20):
        outbox.offer(b"x" * 20_000)
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while not pair.stalled:  # noqa: ASYNC110  the outbox looks by itself, so do we
            await asyncio.sleep(0.01)
    assert "nothing was read" in pair.stalled[0].reason
    pair.close()


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("loop", list(LOOPS))
def test_whoever_writes_and_however_full_the_socket_is_the_order_stays(
    loop: str, seed: int
) -> None:
    """A group's messages, a client's own, and what aiohttp writes to the transport itself."""
    make: Callable[[], asyncio.AbstractEventLoop] = LOOPS[loop]
    with asyncio.Runner(loop_factory=make) as runner:
        runner.run(_write_in_many_ways(random.Random(seed)))


async def _write_in_many_ways(chance: random.Random) -> None:
    turn = Turn(asyncio.get_running_loop())
    group = Group(turn)
    pairs = [await open_pair() for _ in range(6)]
    bounds = OutboxSettings(messages=100_000, bytes=2**30)
    boxes = [Outbox(pair.transport, bounds, turn, pair.stalled.append) for pair in pairs]
    for box in boxes:
        group.join(box)
    expected: list[list[bytes]] = [[] for _ in pairs]
    arrived = [bytearray() for _ in pairs]
    numbers: list[list[int]] = [[] for _ in pairs]  # of each message, 0: it has none
    for number in range(200):
        frame = b"%06d" % number * chance.choice([1, 1, 1, 300, 1500])
        who = chance.randrange(len(pairs))
        if chance.random() < 0.6:
            group.offer(frame, number + 1)
            for each, its in zip(expected, numbers, strict=True):
                each.append(frame)
                its.append(number + 1)
        else:
            boxes[who].offer(frame)
            expected[who].append(frame)
            numbers[who].append(0)
        if chance.random() < 0.1:
            group.leave(boxes[who])
            group.join(boxes[who])
        if chance.random() < 0.3:
            await asyncio.sleep(0)
            await asyncio.sleep(0)  # what found something in its way has the next turn
            for box, its in zip(boxes, numbers, strict=True):
                assert box.sent_seq == max([0, *its[: len(its) - box.waiting_messages]])
        if boxes[who].empty and chance.random() < 0.5:
            pairs[who].transport.write(ping := b"ping%d" % number)
            expected[who].append(ping)
        if chance.random() < 0.2:
            arrived[who] += _all_of(pairs[who].peer)
        if chance.random() < 0.03:
            await asyncio.sleep(1.5 * RETRY_S)  # what waits is tried again
    async with asyncio.timeout(20):
        for pair, wanted, came in zip(pairs, expected, arrived, strict=True):
            came += await pair.read(len(b"".join(wanted)) - len(came))
    for pair, box, wanted, came in zip(pairs, boxes, expected, arrived, strict=True):
        assert bytes(came) == b"".join(wanted)
        assert pair.stalled == []
        pings = sum(each.startswith(b"ping") for each in wanted)
        assert box.offered == len(wanted) - pings
        assert box.sent_seq == max(numbers[0])
        pair.close()


def _all_of(peer: socket.socket) -> bytes:
    """What has arrived and fits into one read."""
    try:
        return peer.recv(64 * 1024)
    except BlockingIOError:
        return b""


@pytest.mark.parametrize("loop", list(LOOPS))
def test_nothing_is_written_past_a_transport_that_is_closing(loop: str) -> None:
    """Its descriptor may be another connection's by then."""

    async def close_and_offer() -> None:
        turn, group = Turn(asyncio.get_running_loop()), Group(Turn(asyncio.get_running_loop()))
        pairs = [await open_pair() for _ in range(6)]
        boxes = [Outbox(each.transport, OutboxSettings(), turn, print) for each in pairs]
        for box in boxes:
            group.join(box)
        pairs[0].transport.abort()
        pairs[1].transport.close()
        boxes[2].close()
        boxes[1].offer(b"own")
        for _ in range(3):
            await asyncio.sleep(0.01)
            # They get the descriptors.
            others = [end for _ in range(4) for end in socket.socketpair()]
            for other in others:
                other.setblocking(False)
            group.offer(b"group", 1)
            await asyncio.sleep(0)
            group.offer(b"group", 2)
            boxes[1].offer(b"own")
            await asyncio.sleep(0)
            for other in others:
                assert _all_of(other) == b""
                other.close()
        assert _all_of(pairs[1].peer) == _all_of(pairs[2].peer) == b""
        assert await pairs[3].read(30) == b"group" * 6
        for pair in pairs:
            pair.close()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(close_and_offer())


async def test_what_a_client_has_had_is_not_taken_back_by_a_notice() -> None:
    """Notices have no number: a client that comes back would be sent all of it again."""
    pair = await open_pair()
    outbox = pair.outbox()
    outbox.offer(b"five", 5)
    outbox.offer(b"note", 0)
    await pair.read(8)
    assert outbox.sent_seq == 5
    outbox.offer(b"note", 0)
    await pair.read(4)
    assert outbox.sent_seq == 5
    for seq in (6, 7, 0):  # these find the socket full
        outbox.offer(b"x" * 200_000, seq)
        await asyncio.sleep(0)
    assert outbox.waiting_messages > 0
    await asyncio.wait_for(pair.read(600_000), 10)
    assert outbox.sent_seq == 7
    pair.close()


async def test_what_a_close_throws_away_is_counted_and_notices_are_told() -> None:
    """No ring keeps those: who comes back hears them out of what was thrown away."""
    pair = await open_pair()
    outbox = pair.outbox()
    outbox.offer(server_frame(b"x" * 200_000), 1)
    await asyncio.sleep(0)
    outbox.offer(server_frame(b"message"), 2)
    outbox.offer(server_frame(b"notice"), 0)
    await asyncio.sleep(0)
    assert outbox.close() == Lost(2, (b"notice",))
    assert outbox.behind
    outbox.offer(server_frame(b"late"), 3)
    assert (outbox.offered, outbox.close()) == (3, Lost())
    pair.close()


async def group_of(turn: Turn, size: int) -> tuple[Group, list[Pair], list[Outbox]]:
    group = Group(turn)
    pairs = [await open_pair() for _ in range(size)]
    outboxes = [Outbox(pair.transport, OutboxSettings(), turn, print) for pair in pairs]
    for outbox in outboxes:
        group.join(outbox)
    return group, pairs, outboxes


async def test_what_is_on_its_way_to_a_group_is_behind_for_each_member() -> None:
    turn = Turn(asyncio.get_running_loop())
    group, pairs, outboxes = await group_of(turn, WORTH_A_GROUP)
    group.offer(b"to all", 1)
    assert all(outbox.behind and not outbox.empty for outbox in outboxes)
    for pair in pairs:
        assert await pair.read(6) == b"to all"
    assert not any(outbox.behind for outbox in outboxes)
    assert [outbox.sent_seq for outbox in outboxes] == [1] * WORTH_A_GROUP
    for pair in pairs:
        pair.close()


async def test_what_was_thrown_away_was_not_sent_though_the_others_have_it() -> None:
    turn = Turn(asyncio.get_running_loop())
    group, pairs, outboxes = await group_of(turn, WORTH_A_GROUP)
    group.offer(b"to all", 1)
    await asyncio.sleep(0)
    closed, aborted, left = outboxes[:3]
    closed.close()
    pairs[1].transport.abort()
    group.leave(left)
    group.join(outboxes[2])  # the others are too few without it
    group.leave(left)
    for number in (2, 3):
        group.offer(b"to all", number)
        aborted.offer(b"to one", number)
        await asyncio.sleep(0)
    group.join(left)
    assert [outbox.sent_seq for outbox in outboxes] == [1, 1, 1, 3]
    group.offer(b"to all", 4)
    await asyncio.sleep(0)
    assert [outbox.sent_seq for outbox in outboxes] == [1, 1, 4, 4]
    for pair in pairs:
        pair.close()


async def test_what_could_not_be_written_was_not_sent() -> None:
    turn = Turn(asyncio.get_running_loop())
    group, pairs, outboxes = await group_of(turn, WORTH_A_GROUP)
    broken = Outbox(Broken(), OutboxSettings(), turn, print)
    group.join(broken)
    group.offer(b"to all", 1)
    await asyncio.sleep(0)
    assert [outbox.sent_seq for outbox in (*outboxes, broken)] == [1, 1, 1, 1, 0]
    for pair in pairs:
        pair.close()


async def test_who_comes_back_into_a_group_stands_where_it_was() -> None:
    """It is sent what it missed, and the group is far ahead."""
    turn = Turn(asyncio.get_running_loop())
    group, pairs, outboxes = await group_of(turn, WORTH_A_GROUP)
    group.offer(b"to all", 9)
    await asyncio.sleep(0)
    pair = await open_pair()
    outbox = Outbox(pair.transport, OutboxSettings(), turn, print)
    group.join(outbox)
    outbox.sent_seq = 4
    assert outbox.sent_seq == 4
    outbox.offer(b"missed", 5)
    group.offer(b"to all", 10)  # behind it, for this one
    assert outbox.sent_seq == 4
    await asyncio.sleep(0)
    assert [each.sent_seq for each in (outbox, *outboxes)] == [10] * 5
    assert await pair.read(12) == b"missedto all"
    for each in (*pairs, pair):
        each.close()


async def test_who_joins_a_group_gets_nothing_of_before() -> None:
    turn = Turn(asyncio.get_running_loop())
    group, pairs, _ = await group_of(turn, WORTH_A_GROUP)
    newcomer = await open_pair()
    group.offer(b"before", 1)
    group.join(Outbox(newcomer.transport, OutboxSettings(), turn, print))
    group.offer(b"after", 2)
    assert await newcomer.read(5) == b"after"
    for pair in pairs:
        assert await pair.read(11) == b"beforeafter"
    for pair in [*pairs, newcomer]:
        pair.close()


@pytest.mark.parametrize("frames", [[], [b"own"]])
async def test_who_was_closed_gets_nothing_more_of_its_group(frames: list[bytes]) -> None:
    turn = Turn(asyncio.get_running_loop())
    group, pairs, outboxes = await group_of(turn, WORTH_A_GROUP)
    for frame in frames:
        outboxes[0].offer(frame, 1)
    outboxes[0].close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    group.offer(b"to all", 2)
    for pair in pairs[1:]:
        assert await pair.read(6) == b"to all"
    with pytest.raises(BlockingIOError):
        pairs[0].peer.recv(1)
    for pair in pairs:
        pair.close()


async def test_what_is_written_at_once_has_what_a_group_has_before_it() -> None:
    """As where a client is closed: the close frame follows all that it was sent."""
    turn = Turn(asyncio.get_running_loop())
    group, pairs, outboxes = await group_of(turn, WORTH_A_GROUP)
    group.offer(b"to all", 1)
    outboxes[0].write_now()
    pairs[0].transport.write(b"close")
    assert await pairs[0].read(11) == b"to allclose"
    for pair in pairs[1:]:
        assert await pair.read(6) == b"to all"
    for pair in pairs:
        pair.close()


class Filling(asyncio.WriteTransport):
    """A transport whose buffer is as full as a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.unsent = 0
        self.written: list[bytes] = []

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))


class Broken(Filling):
    """One that takes nothing."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        raise RuntimeError(f"{len(data)} bytes")


async def test_what_a_group_has_waits_behind_what_found_the_socket_full() -> None:
    """Also where that was tried before the turn had ended, and there is room by now."""
    turn = Turn(asyncio.get_running_loop())
    group, pairs, _ = await group_of(turn, WORTH_A_GROUP - 1)
    transport = Filling()
    outbox = Outbox(transport, OutboxSettings(), turn, print)
    group.join(outbox)
    transport.unsent = HIGH_WATER_BYTES + 1
    outbox.offer(b"own", 1)
    outbox.write_now()
    await asyncio.sleep(0)  # the turn's own write finds nothing
    transport.unsent = 0
    group.offer(b"to all", 2)
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while len(transport.written) < 2:  # noqa: ASYNC110  the outbox looks by itself
            await asyncio.sleep(0.005)
    assert transport.written == [b"own", b"to all"]
    for pair in pairs:
        pair.close()
