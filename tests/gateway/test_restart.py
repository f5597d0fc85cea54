"""With a data folder, a killed gateway comes back knowing its users, tokens and sessions."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import stat
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiohttp
import pytest

from megabot_cli.errors import BadConfiguration
from megabot_cli.gateway.ledger import LEDGER_FILE, SCHEMA_VERSION, Ledger
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import DEADLINE_S, Peer

PROGRAM = """
import asyncio, sys
from pathlib import Path
from megabot_cli.config.schema import GatewaySettings, LimitSettings
from megabot_cli.gateway.accounts import Users
from megabot_cli.gateway.keys import Keys
from megabot_cli.gateway.ledger import Ledger
from megabot_cli.gateway.server import Gateway

async def main(data: Path, listen: str, latency_s: float) -> None:
    ledger = Ledger.open(data)
    users = Users.open(ledger, cost=2)
    if not len(users):
        users.add("ada", "lovelace")
    settings = GatewaySettings(listen=listen, latency_s=latency_s, chunk_delay_s=0)
    gateway = Gateway(settings, LimitSettings(), users, keys=Keys.open(ledger), ledger=ledger)
    await gateway.start()
    print("port", gateway.port, flush=True)
    await asyncio.Event().wait()

asyncio.run(main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
"""


@asynccontextmanager
async def process(
    data: Path, listen: str = "127.0.0.1:0", *, latency_s: float = 0.0
) -> AsyncIterator[int]:
    """A gateway in a process of its own, killed at the end; gives its port."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, str(data), listen, str(latency_s)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    try:
        async with asyncio.timeout(4 * DEADLINE_S):
            while not (line := await child.stdout.readline()).startswith(b"port"):
                assert line, "the gateway ended"
        yield int(line.split()[1])
    finally:
        child.send_signal(signal.SIGKILL)
        await child.wait()


async def until(condition: Callable[[], bool]) -> None:
    """Return when it is so; it is the gateway's own state."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_users_tokens_and_sessions_survive_a_kill(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as http:
        async with process(tmp_path) as port:
            body = {"username": "ada", "password": "lovelace"}
            async with http.post(f"http://127.0.0.1:{port}/api/auth/login", json=body) as response:
                tokens = await response.json()
            query = {"token": tokens["token"]}
            async with http.ws_connect(f"http://127.0.0.1:{port}/ws", params=query) as socket:
                greeting = await Peer(socket).next()
        query["session_id"] = session_id = greeting["payload"]["session_id"]
        async with process(tmp_path, f"127.0.0.1:{port}") as port_again:
            assert port_again == port
            async with http.ws_connect(f"http://127.0.0.1:{port}/ws", params=query) as socket:
                peer = Peer(socket)
                again = await peer.next()
                assert again["payload"] == greeting["payload"]
                assert again["payload"]["session_id"] == session_id
                await peer.answer(await peer.say("as if nothing had happened"))
            body = {"refresh_token": tokens["refresh_token"]}
            url = f"http://127.0.0.1:{port}/api/auth/refresh"
            async with http.post(url, json=body) as response:
                assert response.status == 200


async def test_a_spent_refresh_token_stays_spent_over_a_restart(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    house = await open_house(data=tmp_path)
    tokens = await house.login()
    body = {"refresh_token": tokens["refresh_token"]}
    assert (await house.post("/api/auth/refresh", body))[0] == 200
    await house.gateway.stop()
    again = await open_house(data=tmp_path)
    assert (await again.post("/api/auth/refresh", body))[0] == 401


async def test_an_expired_session_is_not_resumed_after_a_restart(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    house = await open_house(data=tmp_path)
    async with house.connected() as peer:
        session_id = peer.session_id
    await house.gateway.stop()
    with sqlite3.connect(tmp_path / LEDGER_FILE) as database:
        database.execute("UPDATE sessions SET used_at = used_at - 3601")
    database.close()
    again = await open_house(data=tmp_path)
    async with again.connected(session_id=session_id) as peer:
        assert peer.session_id != session_id


async def test_without_a_data_folder_a_restart_forgets_and_says_so(open_house: OpenHouse) -> None:
    house = await open_house()
    async with house.connected() as peer:
        session_id = peer.session_id
    again = await open_house()
    async with again.connected(session_id=session_id) as peer:
        assert peer.session_id != session_id


def test_only_its_owner_reads_the_ledger(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path)
    ledger.note_session("sess_1", "user_1", 1.0)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o600}
    ledger.close()


def test_the_ledger_purges_what_no_longer_matters() -> None:
    ledger = Ledger.open(None)
    ledger.note_session("old", "user_1", 10.0)
    ledger.note_session("new", "user_1", 20.0)
    assert ledger.spend("jti", 15.0)
    assert not ledger.spend("jti", 15.0)
    ledger.purge(now=16.0, used_since=15.0)
    assert ledger.owner("old", used_since=0.0) is None
    assert ledger.owner("new", used_since=0.0) == "user_1"
    assert ledger.spend("jti", 15.0)
    ledger.close()


@pytest.mark.parametrize("session_id", ["sess_1", "' OR '1'='1"])
def test_a_ledger_whose_disk_fails_forgets_but_serves(session_id: str) -> None:
    ledger = Ledger.open(None)
    ledger.close()
    ledger.note_session(session_id, "user_1", 1.0)
    assert ledger.owner(session_id, used_since=0.0) is None
    assert not ledger.spend("jti", 1.0)  # what cannot be marked as spent is not taken


async def test_a_conversation_has_its_context_after_a_restart(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    program = "command:sh -c 'printf %s \"$MEGABOT_HISTORY\"'"
    house = await open_house(data=tmp_path, gateway={"assistant": program})
    async with house.connected() as peer:
        await peer.answer(await peer.say("one"))
    await house.gateway.stop()
    again = await open_house(data=tmp_path, gateway={"assistant": program})
    async with again.connected(session_id=peer.session_id) as later:
        assert later.session_id == peer.session_id
        answer = await later.answer(await later.say("two"))
    assert answer[-1]["payload"]["content"] == (
        '[{"sender":"user","content":"one"},{"sender":"assistant","content":"[]"}]'
    )


async def test_what_nobody_was_there_to_hear_is_delivered_after_a_restart(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    house = await open_house(data=tmp_path, gateway={"latency_s": 0.2})
    async with house.connected() as peer:
        question = await peer.say("are you there?")
        (session,) = house.gateway._sessions._sessions.values()
        await until(lambda: session.answers.under_way)
        await house.gateway.drop_all()
    await until(lambda: not session.answers.under_way and bool(session._backlog.held()))
    await house.gateway.stop()
    again = await open_house(data=tmp_path)
    async with again.connected(session_id=peer.session_id) as later:
        assert (await later.answer(question))[-1]["type"] == "chat_receive"
    await again.gateway.stop()
    third = await open_house(data=tmp_path)
    async with third.connected(session_id=peer.session_id) as later:
        await later.answer(await later.say("once only"))
        assert [one["type"] for one in later.received].count("chat_receive") == 1


def waiting_on_disk(data: Path) -> int:
    with closing(sqlite3.connect(f"file:{data / LEDGER_FILE}?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM waiting").fetchone()[0])


async def test_what_waits_for_delivery_survives_a_kill(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as http:
        # Whoever asked is gone before the answer is there to be written to them.
        async with process(tmp_path, latency_s=1.0) as port:
            url = f"http://127.0.0.1:{port}"
            body = {"username": "ada", "password": "lovelace"}
            async with http.post(f"{url}/api/auth/login", json=body) as response:
                query = {"token": (await response.json())["token"]}
            async with http.ws_connect(f"{url}/ws", params=query) as socket:
                peer = Peer(socket)
                query["session_id"] = (await peer.next())["payload"]["session_id"]
                await peer.say("are you there?")
                await socket.send_str("no JSON")
                await peer.until("connection_error")  # so the question before it was read
                socket._response.connection.transport.abort()  # type: ignore[union-attr]
            await until(lambda: waiting_on_disk(tmp_path) > 0)
        async with (
            process(tmp_path, f"127.0.0.1:{port}"),
            http.ws_connect(f"{url}/ws", params=query) as socket,
        ):
            assert await Peer(socket).until("chat_receive")


async def test_two_gateways_do_not_share_a_data_folder(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    house = await open_house(data=tmp_path)
    with pytest.raises(BadConfiguration, match=r"pid \d+.*data folder"):
        await open_house(data=tmp_path)
    await house.gateway.stop()
    await open_house(data=tmp_path)


def test_a_data_file_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    Ledger.open(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / LEDGER_FILE)) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(BadConfiguration, match="newer megabot"):
        Ledger.open(tmp_path)


def test_a_damaged_data_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / LEDGER_FILE).write_bytes(b"SQLite format 3\0" + b"\xff" * 4000)
    with pytest.raises(BadConfiguration) as refused:
        Ledger.open(tmp_path)
    assert "--data" in str(refused.value.hint)


def test_a_session_keeps_its_newest_turns_and_takes_them_with_it() -> None:
    ledger = Ledger.open(None)
    ledger.note_session("sess_1", "user_1", 10.0)
    for number in range(30):
        ledger.note_turn("sess_1", f"q{number}", f"a{number}", most=25)
    ledger.note_waiting("sess_1", [b"one", b"two"])
    ledger.note_waiting("sess_1", [b"three"])
    assert ledger.turns("sess_1")[0] == ("q5", "a5")
    assert len(ledger.turns("sess_1")) == 25
    assert ledger.waiting("sess_1") == [b"three"]
    ledger.purge(now=0.0, used_since=11.0)
    assert (ledger.turns("sess_1"), ledger.waiting("sess_1")) == ([], [])
    ledger.close()


async def test_a_ledger_that_fails_in_the_middle_costs_memory_and_no_answer(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    house = await open_house(data=tmp_path)
    async with house.connected() as peer:
        house.gateway._ledger._database.close()
        assert await peer.answer(await peer.say("still there?"))


def test_what_was_appended_moves_into_the_file_when_a_thread_has_time(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path)
    for number in range(200):
        ledger.note_turn(f"sess_{number}", "q" * 2000, "a" * 2000, most=25)
    file, log = tmp_path / LEDGER_FILE, tmp_path / f"{LEDGER_FILE}-wal"
    before = file.stat().st_size
    assert log.stat().st_size > before
    thread = threading.Thread(target=ledger.checkpoint)
    thread.start()
    thread.join()
    assert file.stat().st_size > before + 200 * 4000
    assert ledger.turns("sess_199") == [("q" * 2000, "a" * 2000)]
    ledger.close()
