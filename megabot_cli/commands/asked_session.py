"""A session that was asked for by name (`--session`) and is not there."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from megabot_cli.errors import MegabotError, NotFound, WrongUsage

if TYPE_CHECKING:
    from megabot_cli.client.connection import MegaBotClient
    from megabot_cli.commands.invocation import Invocation
    from megabot_cli.storage.run_files import RunningRelay

_MOST_NAMED: Final = 3
_LEAST_END: Final = 6  # characters, as in a selection
_BEGINNING: Final = "sess_"
OR_NEW: Final = "--or-new goes on in a new one."


def whole_session(invocation: Invocation, asked: str | None, *, direct: bool) -> str | None:
    """The session that is meant where only its end is given, as lines show it, and a relay
    has it; else what was asked for. WrongUsage when the relay has several that end so."""
    if asked is None or direct or len(asked) < _LEAST_END or asked.startswith(_BEGINNING):
        return asked
    there = _sessions_of(invocation, None)
    found = sorted(each for each in there if each.endswith(asked))
    if asked in there or not found:
        return asked
    if len(found) > 1:
        raise WrongUsage(f"Several sessions end with {asked!r}", f"Name one: {', '.join(found)}.")
    invocation.console.detail(f"session {found[0]}")
    return found[0]


async def require_session(
    invocation: Invocation,
    client: MegaBotClient,
    asked: str | None,
    *,
    direct: bool,
    else_new: str = "Leave --session out for a new one.",
) -> None:
    """NotFound when the upstream gave a new session instead of the one asked for: whoever
    names one means what was said in it.

    The new one is left: see `no_such_session`.
    """
    if asked is None or client.resumed is not False:
        return
    import asyncio

    made = client.session_id
    await client.close()
    raise await asyncio.to_thread(
        no_such_session, invocation, asked, made, direct=direct, else_new=else_new
    )


def no_such_session(
    invocation: Invocation, asked: str, made: str | None, *, direct: bool, else_new: str
) -> NotFound:
    """What to raise when there was a new session, `made`, in place of the one asked for, and
    nobody is in it any more.

    The relay's others are named; `else_new` says what to type for a new one. A relay lets go of
    the new one; the upstream keeps it as long as it keeps any that nobody is in, for its
    protocol has no word for ending one.
    """
    relay = None if direct else invocation.running_relay()
    hint = else_new
    if relay is not None:
        there = _sessions_of(invocation, made)
        _let_go(relay, made)
        if there:
            named = ", ".join(reversed(there[-_MOST_NAMED:]))  # the newest is meant, as a rule
            more = " and others" if len(there) > _MOST_NAMED else ""
            hint = f"The relay has {named}{more}. {hint}"
        else:
            hint = f"The relay has no other. {hint}"
    upstream = invocation.configuration.profile.url
    return NotFound(f"There is no session {asked!r} (any more) at {upstream}", hint)


def _let_go(relay: RunningRelay, made: str | None) -> None:
    """Have the relay close a session that was made for nothing, if nobody else is in it: where
    all share one link the session was there before, and stays."""
    from megabot_cli.commands.admin_request import ask_relay

    with suppress(MegabotError):
        if ask_relay(relay, "status")["mode"] != "session":
            return
        rows = [each for each in _ours(relay) if each["session"] == made]
        if rows and not any(rows[0][each] for each in ("clients", "waiting", "requests")):
            ask_relay(relay, "close", {"id": made, "reason": "another session was asked for"})


def _sessions_of(invocation: Invocation, new: str | None) -> list[str]:
    """The sessions of the relay, without the one that was begun just now."""
    relay = invocation.running_relay()
    found: list[str] = []
    with suppress(MegabotError):
        # In `dedicated` mode each client has one of its own.
        rows = (_ours(relay) or _ours(relay, "clients")) if relay is not None else []
        found = [each["session"] for each in rows if each["session"] not in (None, new)]
    return found


def _ours(relay: RunningRelay, what: str = "sessions") -> list[dict[str, Any]]:
    """Its sessions (or clients) at our upstream: those of other profiles that it serves can be no
    answer."""
    from megabot_cli.commands.admin_request import ask_relay

    return [each for each in ask_relay(relay, what) if each["profile"] == relay.profile]
