"""One credential for all who ask: renewed in time, once, and by one process only."""

from __future__ import annotations

import asyncio
import sys
import textwrap
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from megabot_cli.client import tokens as tokens_module
from megabot_cli.client.credentials import Credential, CredentialStore
from megabot_cli.client.endpoint import parse_endpoint
from megabot_cli.client.tokens import TokenSource
from megabot_cli.errors import (
    BadConfiguration,
    CouldNotConnect,
    MegabotError,
    NotAuthenticated,
    RateLimited,
)
from tests.client.conftest import until
from tests.support.disks import fill, small_disk
from tests.support.upstream import ScriptedUpstream


def issuer(expires_in: float = 3600) -> Callable[[dict[str, Any]], web.Response]:
    """Gives token-2, token-3 … and with each a refresh token that is good once."""
    numbers = count(2)
    spent: set[str] = set()

    def renew(body: dict[str, Any]) -> web.Response:
        used = body.get("refresh_token")
        if used in spent:
            return web.json_response({"message": "used already"}, status=401)
        if used is not None:
            spent.add(used)
        number = next(numbers)
        answer = {"token": f"token-{number}", "refresh_token": f"refresh-{number}"}
        return web.json_response({**answer, "expires_in": expires_in})

    return renew


def held(
    upstream: ScriptedUpstream, expires_in: float | None = 3600, refresh: str | None = "refresh-1"
) -> Credential:
    expires_at = None if expires_in is None else time.time() + expires_in
    return Credential(
        "jwt", "token-1", upstream.origin, expires_at=expires_at, refresh_token=refresh
    )


def source(
    http: aiohttp.ClientSession,
    upstream: ScriptedUpstream,
    credential: Credential | None,
    **more: Any,
) -> TokenSource:
    return TokenSource(http, parse_endpoint(upstream.url), credential=credential, **more)


async def test_a_valid_credential_is_given_as_it_is(http: aiohttp.ClientSession) -> None:
    async with ScriptedUpstream(on_refresh=issuer()) as upstream:
        credential = held(upstream)
        tokens = source(http, upstream, credential)
        assert await tokens.current() is credential
        assert tokens.expires_at == credential.expires_at
    assert upstream.refreshes == []


async def test_without_a_credential_there_is_none(http: aiohttp.ClientSession) -> None:
    async with ScriptedUpstream() as upstream:
        tokens = source(http, upstream, None)
        assert await tokens.current() is None
        assert tokens.expires_at is None


async def test_a_credential_without_an_end_is_never_renewed(http: aiohttp.ClientSession) -> None:
    async with ScriptedUpstream(on_refresh=issuer()) as upstream:
        tokens = source(http, upstream, held(upstream, expires_in=None))
        current = await tokens.current()
    assert current is not None
    assert current.secret == "token-1"
    assert upstream.refreshes == []


async def test_a_credential_is_renewed_before_it_ends(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedUpstream(on_refresh=issuer()) as upstream:
        tokens = source(http, upstream, held(upstream, 1000), refresh_margin_s=60)
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 939)
        before = await tokens.current()
        monkeypatch.setattr(time, "time", lambda: now + 941)
        after = await tokens.current()
    assert before is not None
    assert after is not None
    assert (before.secret, after.secret) == ("token-1", "token-2")


async def test_the_margin_is_a_tenth_of_a_short_life(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedUpstream(on_refresh=issuer()) as upstream:
        tokens = source(http, upstream, held(upstream, 100), refresh_margin_s=60)
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 89)
        assert (await tokens.current() or held(upstream)).secret == "token-1"
        monkeypatch.setattr(time, "time", lambda: now + 91)
        assert (await tokens.current() or held(upstream)).secret == "token-2"


async def test_many_who_come_at_once_share_one_renewal(http: aiohttp.ClientSession) -> None:
    async with ScriptedUpstream(on_refresh=issuer()) as upstream:
        tokens = source(http, upstream, held(upstream, -1))
        found = await asyncio.gather(*(tokens.current() for _ in range(50)))
    assert {one.secret for one in found if one is not None} == {"token-2"}
    assert len(upstream.refreshes) == 1


async def test_many_who_were_refused_share_one_renewal(http: aiohttp.ClientSession) -> None:
    async with ScriptedUpstream(on_refresh=issuer()) as upstream:
        credential = held(upstream)
        tokens = source(http, upstream, credential)
        found = await asyncio.gather(*(tokens.after_refusal(credential) for _ in range(50)))
        later = await tokens.after_refusal(credential)
    assert {one.secret for one in [*found, later]} == {"token-2"}
    assert len(upstream.refreshes) == 1


async def test_a_new_credential_that_is_refused_too_is_renewed_again(
    http: aiohttp.ClientSession,
) -> None:
    async with ScriptedUpstream(on_refresh=issuer()) as upstream:
        tokens = source(http, upstream, held(upstream))
        second = await tokens.after_refusal(held(upstream))
        third = await tokens.after_refusal(second)
    assert (second.secret, third.secret) == ("token-2", "token-3")


async def test_an_api_key_that_is_refused_cannot_be_renewed(http: aiohttp.ClientSession) -> None:
    async with ScriptedUpstream() as upstream:
        key = Credential("api_key", "key", upstream.origin)
        tokens = source(http, upstream, key)
        assert await tokens.current() is key
        with pytest.raises(NotAuthenticated, match="API key") as refusal:
            await tokens.after_refusal(key)
    assert "megabot login" in str(refusal.value.hint)


async def test_an_expired_credential_that_cannot_be_renewed_is_for_the_upstream_to_judge(
    http: aiohttp.ClientSession,
) -> None:
    """Our clock may be wrong; the upstream's is the one that counts."""
    async with ScriptedUpstream() as upstream:
        old = held(upstream, -100, refresh=None)
        tokens = source(http, upstream, old)
        assert await tokens.current() is old
        with pytest.raises(NotAuthenticated):
            await tokens.after_refusal(old)


async def test_a_refused_renewal_of_an_expired_credential_says_to_log_in(
    http: aiohttp.ClientSession,
) -> None:
    def refuse(_: dict[str, Any]) -> web.Response:
        return web.json_response({"message": "revoked"}, status=401)

    async with ScriptedUpstream(on_refresh=refuse) as upstream:
        with pytest.raises(NotAuthenticated, match="revoked") as refusal:
            await source(http, upstream, held(upstream, -1)).current()
    assert "megabot login" in str(refusal.value.hint)


async def test_a_renewal_that_fails_early_costs_nothing(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the margin the old credential still is good: only its end makes it an error."""

    def fail(_: dict[str, Any]) -> web.Response:
        return web.Response(status=503)

    async with ScriptedUpstream(on_refresh=fail) as upstream:
        tokens = source(http, upstream, held(upstream, 100))
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 95)
        current = await tokens.current()
    assert current is not None
    assert current.secret == "token-1"


async def test_an_upstream_that_is_away_is_said_so(http: aiohttp.ClientSession) -> None:
    async with ScriptedUpstream() as upstream:
        tokens = source(http, upstream, held(upstream, -1))
    with pytest.raises(CouldNotConnect):
        await tokens.current()


async def test_a_password_logs_in_at_first_and_when_the_refresh_token_is_refused(
    http: aiohttp.ClientSession,
) -> None:
    def refuse(_: dict[str, Any]) -> web.Response:
        return web.json_response({}, status=401)

    async with ScriptedUpstream(on_login=issuer(), on_refresh=refuse) as upstream:
        tokens = source(http, upstream, None, login=("ada", "secret"))
        first = await tokens.current()
        assert first is not None
        second = await tokens.after_refusal(first)
    assert (first.secret, second.secret) == ("token-2", "token-3")
    assert upstream.logins == [{"username": "ada", "password": "secret"}] * 2


async def test_a_login_that_is_slowed_down_says_so(http: aiohttp.ClientSession) -> None:
    def slow_down(_: dict[str, Any]) -> web.Response:
        return web.json_response({}, status=429, headers={"Retry-After": "3"})

    async with ScriptedUpstream(on_login=slow_down) as upstream:
        with pytest.raises(RateLimited):
            await source(http, upstream, None, login=("ada", "secret")).current()


async def test_a_credential_for_another_origin_is_not_even_held(
    http: aiohttp.ClientSession,
) -> None:
    async with ScriptedUpstream() as upstream:
        foreign = Credential("jwt", "hunter2", "https://api.megabot.ai")
        with pytest.raises(NotAuthenticated) as refusal:
            source(http, upstream, foreign)
    assert "hunter2" not in str(refusal.value)


# With a store


@pytest.fixture
def store(tmp_path: Path) -> CredentialStore:
    return CredentialStore(tmp_path, "file")


async def test_a_renewed_credential_is_stored(
    http: aiohttp.ClientSession, store: CredentialStore
) -> None:
    async with ScriptedUpstream(on_refresh=issuer()) as upstream:
        store.save("default", held(upstream, -1))
        tokens = source(http, upstream, held(upstream, -1), store=store, profile="default")
        await tokens.current()
        stored = store.load("default", upstream.origin)
    assert stored is not None
    assert (stored.secret, stored.refresh_token) == ("token-2", "refresh-2")


async def test_two_programs_with_one_credential_renew_it_once(
    http: aiohttp.ClientSession, store: CredentialStore
) -> None:
    """A refresh token is good once: the second takes what the first brought."""
    async with ScriptedUpstream(on_refresh=issuer()) as upstream:
        old = held(upstream, -1)
        store.save("default", old)
        sources = [source(http, upstream, old, store=store, profile="default") for _ in range(8)]
        found = await asyncio.gather(*(tokens.current() for tokens in sources))
    assert {one.secret for one in found if one is not None} == {"token-2"}
    assert len(upstream.refreshes) == 1


async def test_processes_that_were_refused_at_once_renew_once(
    store: CredentialStore, tmp_path: Path
) -> None:
    program = textwrap.dedent(
        f"""
        import asyncio, sys, aiohttp
        from pathlib import Path
        from megabot_cli.client.credentials import CredentialStore
        from megabot_cli.client.endpoint import parse_endpoint
        from megabot_cli.client.tokens import TokenSource

        async def main():
            store = CredentialStore(Path({str(tmp_path)!r}), "file")
            endpoint = parse_endpoint(sys.argv[1])
            old = store.load("default", endpoint.origin)
            print("ready", flush=True)
            sys.stdin.readline()
            async with aiohttp.ClientSession() as http:
                tokens = TokenSource(http, endpoint, credential=old, store=store, profile="default")
                print((await tokens.after_refusal(old)).secret)

        asyncio.run(main())
        """
    )
    async with ScriptedUpstream(on_refresh=issuer()) as upstream:
        store.save("default", held(upstream))
        pipe = asyncio.subprocess.PIPE
        processes = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", program, upstream.url, stdin=pipe, stdout=pipe
            )
            for _ in range(3)
        ]
        for process in processes:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
        outputs = await asyncio.gather(*(process.communicate(b"\n") for process in processes))
    assert [output for output, _ in outputs] == [b"token-2\n"] * 3
    assert len(upstream.refreshes) == 1


async def test_a_login_made_meanwhile_by_somebody_else_is_taken_up(
    http: aiohttp.ClientSession, store: CredentialStore
) -> None:
    async with ScriptedUpstream() as upstream:
        key = Credential("api_key", "old", upstream.origin)
        tokens = source(http, upstream, key, store=store, profile="default")
        store.save("default", Credential("api_key", "new", upstream.origin))
        assert (await tokens.after_refusal(key)).secret == "new"


async def test_a_lock_that_is_never_let_go_is_said_so(
    http: aiohttp.ClientSession, store: CredentialStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens_module, "LOCK_TIMEOUT_S", 0.2)
    async with ScriptedUpstream(on_refresh=issuer()) as upstream:
        tokens = source(http, upstream, held(upstream, -1), store=store, profile="default")
        with store.locked("default"), pytest.raises(CouldNotConnect, match="Another megabot"):
            await tokens.current()
        assert (await tokens.current() or held(upstream)).secret == "token-2"


async def test_a_cancelled_renewal_still_brings_the_new_refresh_token_home(
    http: aiohttp.ClientSession, store: CredentialStore
) -> None:
    answer = issuer()
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def renew(body: dict[str, Any]) -> web.StreamResponse:
        asked.set()
        await go_on.wait()
        return answer(body)

    async with ScriptedUpstream(on_refresh=renew) as upstream, asyncio.TaskGroup() as group:
        tokens = source(http, upstream, held(upstream, -1), store=store, profile="default")
        waiting = group.create_task(tokens.current())
        await asked.wait()
        waiting.cancel()
        go_on.set()
        await until(waiting.done)
        assert waiting.cancelled()
        stored = store.load("default", upstream.origin)
    assert stored is not None
    assert stored.refresh_token == "refresh-2"


async def test_a_cancelled_renewal_that_gets_no_answer_ends_soon_and_leaves_nothing(
    http: aiohttp.ClientSession,
) -> None:
    asked = asyncio.Event()

    async def never(_: dict[str, Any]) -> web.StreamResponse:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with ScriptedUpstream(on_refresh=never) as upstream, asyncio.TaskGroup() as group:
        before = len(asyncio.all_tasks())
        waiting = group.create_task(source(http, upstream, held(upstream, -1)).current())
        await asked.wait()
        waiting.cancel()
        await until(waiting.done, 2.0)
        await until(lambda: len(asyncio.all_tasks()) <= before + 1)


async def test_what_a_full_disk_does_not_take_is_used_all_the_same_and_stored_with_room_again(
    http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """The refresh token of the one before is spent: nobody else will ever have another."""
    with small_disk(tmp_path / "disk", "size=64k") as disk:
        store = CredentialStore(disk / "credentials", "file")
        async with ScriptedUpstream(on_refresh=issuer(expires_in=0)) as upstream:
            old = held(upstream, -1)
            store.save("default", old)
            tokens = source(http, upstream, old, store=store, profile="default")
            told: list[MegabotError] = []
            tokens.on_unstored = told.append
            with store.locked("default"), pytest.raises(OSError, match="No space left"):
                fill(disk / "rest")
            current = await tokens.current()
            assert current is not None
            assert current.secret == "token-2"
            (fault,) = told
            assert "No space left" in fault.message
            assert tokens.has_renewed(store.load("default", upstream.origin))
            with pytest.raises(BadConfiguration, match="cannot be kept"):
                await tokens.store_again()
            (disk / "rest").unlink()
            await tokens.store_again()
            assert store.load("default", upstream.origin) == tokens.credential
            assert not tokens.unstored
            renewed = await tokens.current()
            assert renewed is not None
            assert renewed.secret == "token-3"
        assert [each["refresh_token"] for each in upstream.refreshes] == ["refresh-1", "refresh-2"]


async def test_a_login_made_meanwhile_stays_where_a_renewed_credential_could_not_be_stored(
    http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "size=64k") as disk:
        store = CredentialStore(disk / "credentials", "file")
        async with ScriptedUpstream(on_refresh=issuer()) as upstream:
            old = held(upstream, -1)
            store.save("default", old)
            tokens = source(http, upstream, old, store=store, profile="default")
            with store.locked("default"), pytest.raises(OSError, match="No space left"):
                fill(disk / "rest")
            await tokens.current()
            assert tokens.has_renewed(old)
            (disk / "rest").unlink()
            login = Credential("api_key", "new", upstream.origin)
            store.save("default", login)
            await tokens.store_again()
            assert store.load("default", upstream.origin) == login
            assert not tokens.unstored
