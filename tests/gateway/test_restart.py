"""With a data folder, a killed gateway comes back knowing its users, tokens and sessions."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from megabot_cli.gateway.ledger import LEDGER_FILE, Ledger
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import DEADLINE_S, Peer

PROGRAM = """
import asyncio, sys
from pathlib import Path
from megabot_cli.config.schema import GatewaySettings, LimitSettings
from megabot_cli.gateway.accounts import Users
from megabot_cli.gateway.keys import Keys
from megabot_cli.gateway.server import Gateway

async def main(data: Path, listen: str) -> None:
    users = Users.load(data / "users.yaml", cost=2)
    if not len(users):
        users.add("ada", "lovelace")
    settings = GatewaySettings(listen=listen, latency_s=0, chunk_delay_s=0)
    gateway = Gateway(settings, LimitSettings(), users, keys=Keys.load(data), data_folder=data)
    await gateway.start()
    print("port", gateway.port, flush=True)
    await asyncio.Event().wait()

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


@asynccontextmanager
async def process(data: Path, listen: str = "127.0.0.1:0") -> AsyncIterator[int]:
    """A gateway in a process of its own, killed at the end; gives its port."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(data), listen, stdout=asyncio.subprocess.PIPE
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
