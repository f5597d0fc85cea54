"""The specification's limits as the defaults have them: 10 a second, 100 waiting, 1 MiB."""

from __future__ import annotations

import time

from megabot_cli.config.schema import LimitSettings
from megabot_cli.gateway.deflating import LEVEL, MEMORY_LEVEL, THRESHOLD_BYTES, WINDOW_BITS
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import House, replied_to

DEFAULTS = {"messages_per_second": 10.0, "burst": 10.0, "queue": 100}


def test_the_defaults_are_the_specifications() -> None:
    limits = LimitSettings()
    assert {name: getattr(limits, name) for name in DEFAULTS} == DEFAULTS
    assert limits.max_message_bytes == 1024 * 1024


async def test_ten_are_answered_at_once_and_then_ten_a_second(open_house: OpenHouse) -> None:
    house = await open_house(limits=DEFAULTS)
    async with house.connected() as peer:
        began = time.monotonic()
        asked = [await peer.say(f"no {number}") for number in range(15)]
        await peer.answer(asked[-1])
        assert time.monotonic() - began >= 5 / 10 - 0.02  # the ten of the burst take no time


async def test_a_hundred_wait_and_the_next_is_refused_by_name(open_house: OpenHouse) -> None:
    house = await open_house(limits={**DEFAULTS, "messages_per_second": 0.01})
    async with house.connected() as peer:
        asked = [await peer.say(f"no {number}") for number in range(150)]
        refused: list[str | None] = []
        while asked[-1] not in refused:
            message = await peer.next()
            if message["type"] == "connection_error":
                payload = message["payload"]
                assert (payload["error"], payload["code"]) == ("rate_limited", 429)
                assert payload["message"].startswith("100 messages in the queue already")
                refused.append(replied_to(message))
    assert refused == asked[110:]  # ten at once, a hundred that wait


async def test_a_mebibyte_passes_and_a_byte_more_is_refused_by_name(house: House) -> None:
    async with house.connected() as peer:
        for extra in (0, 1):
            head = '{"id":"big","type":"my.type","payload":"'
            text = head + "a" * (1024 * 1024 + extra - len(head) - 2) + '"}'
            assert len(text) == 1024 * 1024 + extra
            await peer.send_text(text)
            payload = (await peer.until("connection_error", "big"))["payload"]
            expected = ("message_too_large", 413) if extra else ("unknown_type", 400)
            assert (payload["error"], payload["code"]) == expected


def test_compression_has_the_parameters_of_the_specifications_server() -> None:
    assert (LEVEL, MEMORY_LEVEL, WINDOW_BITS, THRESHOLD_BYTES) == (3, 7, 10, 1024)


async def test_compression_is_agreed_on_as_the_specifications_server_does(house: House) -> None:
    async with house.connected(compress=15) as peer:
        agreed = peer.socket._response.headers["Sec-WebSocket-Extensions"]
    assert [part.strip() for part in agreed.split(";")] == [
        "permessage-deflate",
        "server_no_context_takeover",
        "client_no_context_takeover",
        "server_max_window_bits=10",
    ]
