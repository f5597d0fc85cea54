"""Users and keys change under a gateway that runs, from another process, without a restart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from megabot_cli.errors import NotFound
from megabot_cli.gateway.accounts import Users
from megabot_cli.gateway.ledger import LEDGER_FILE, Ledger
from tests.gateway.conftest import OpenHouse
from tests.gateway.test_restart import until


@contextmanager
def beside(folder: Path) -> Iterator[Users]:
    """The users, as a command sees them; what it changes is another connection's word."""
    with closing(Ledger.share(folder)) as ledger:
        yield Users.open(ledger, cost=2)


async def test_a_user_made_beside_it_comes_in_and_a_removed_one_is_shown_out(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    house = await open_house(data=tmp_path)
    async with house.connected() as peer:
        with beside(tmp_path) as users:
            users.add("bob", "builder")
            users.remove("ada")
        await until(lambda: house.gateway._users.names == ["bob"])
        await until(lambda: house.gateway.connection_count == 0)
        assert peer.socket.closed or (await peer.socket.receive()).data == 1008
    status, _ = await house.post("/api/auth/login", {"username": "ada", "password": "lovelace"})
    assert status == 401
    status, _ = await house.post("/api/auth/login", {"username": "bob", "password": "builder"})
    assert status == 200


async def test_who_was_just_made_comes_in_at_once_and_who_was_removed_does_not(
    open_house: OpenHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("megabot_cli.gateway.server.PUT_DOWN_S", 3600.0)
    house = await open_house(data=tmp_path)
    with beside(tmp_path) as users:
        users.add("bob", "builder")
        key = users.add_api_key("bob")
        bob = {"username": "bob", "password": "builder"}
        assert (await house.post("/api/auth/login", bob))[0] == 200
        async with house.connected(key=key) as peer:
            await peer.answer(await peer.say("hello"))
        later = users.add_api_key("bob")
        async with house.connected(key=later) as peer:
            await peer.answer(await peer.say("hello again"))
        users.remove("bob")
    assert (await house.post("/api/auth/login", bob))[0] == 401


async def test_a_revoked_key_ends_its_connections_and_no_other(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    house = await open_house(data=tmp_path)
    token = (await house.login())["token"]
    async with house.connected(), house.connected(key=token) as other:
        with beside(tmp_path) as users:
            ((key_id, name),) = users.api_keys()
            assert users.remove_api_key(key_id) == name == "ada"
        await until(lambda: house.gateway.connection_count == 1)
        await other.answer(await other.say("still here"))


async def test_what_a_removed_user_said_is_gone(open_house: OpenHouse, tmp_path: Path) -> None:
    house = await open_house(data=tmp_path)
    async with house.connected() as peer:
        await peer.answer(await peer.say("a secret"))
    await house.gateway.stop()
    with beside(tmp_path) as users:
        users.remove("ada")
    with closing(Ledger.share(tmp_path)) as ledger:
        assert ledger.turns(peer.session_id) == []
        assert ledger.owner(peer.session_id, used_since=0.0) is None


def test_where_no_gateway_was_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no gateway's data"):
        Ledger.share(tmp_path)
    assert not (tmp_path / LEDGER_FILE).exists()


def test_a_key_or_user_that_is_not_there_is_told(tmp_path: Path) -> None:
    Ledger.open(tmp_path).close()
    with beside(tmp_path) as users:
        with pytest.raises(NotFound):
            users.remove("nobody")
        with pytest.raises(NotFound):
            users.remove_api_key("0123456789abcdef")


def test_what_has_expired_leaves_the_file_too_a_little_at_a_time(tmp_path: Path) -> None:
    with closing(Ledger.open(tmp_path)) as ledger:
        for number in range(40):
            ledger.note_session(f"sess_{number}", "user_1", 10.0)
            ledger.note_turn(f"sess_{number}", "q" * 1000, "a" * 100_000, most=25)
        times = 1
        while ledger.purge(now=0.0, used_since=11.0):
            times += 1
        assert times > 5
        assert ledger.turns("sess_39") == []
    assert (tmp_path / LEDGER_FILE).stat().st_size < 1_000_000
