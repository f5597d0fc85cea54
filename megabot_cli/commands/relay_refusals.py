"""What a running relay refuses with, in words that tell it from the upstream behind it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from megabot_cli.errors import MegabotError, NotAuthenticated, NotPermitted

if TYPE_CHECKING:
    from megabot_cli.commands.invocation import Invocation
    from megabot_cli.storage.run_files import RunningRelay

# In which words the relay's own client says that its credential is of no use.
_OF_NO_USE = re.compile(r"refused the credential|no longer accepts")

_REFUSED = " refused the credential"  # a 401 in our client's words


def said_by_relay(fault: MegabotError, relay: RunningRelay) -> MegabotError:
    """The same fault: said once, by whoever said it, and with what helps there."""
    from megabot_cli.client.endpoint import parse_endpoint
    from megabot_cli.client.refusals import ASKS_LIKE_A_RELAY, who_of

    _, is_of_upstream, words = fault.message.partition(f": {who_of('')}")
    if isinstance(fault, NotAuthenticated | NotPermitted) and is_of_upstream:
        may_log_in = isinstance(fault, NotAuthenticated) and ASKS_LIKE_A_RELAY not in words
        hint = _log_in(relay) if may_log_in else fault.hint
        return _again(fault, who_of("") + words, hint)
    if is_of_upstream and _OF_NO_USE.search(words):
        # What waited for the link was not delivered, and will not be a little later.
        return NotAuthenticated(fault.message, _log_in(relay), close_code=fault.close_code)
    address = parse_endpoint(relay.url).address
    if fault.message.startswith(untrusted := f"The certificate of {address} "):
        said = fault.message.removeprefix(untrusted)
        return _again(fault, f"The certificate of the relay at {relay.url} {said}", _renew(relay))
    taken_for_upstream = who_of(address)
    if not fault.message.startswith(taken_for_upstream):
        return fault
    said = fault.message.removeprefix(taken_for_upstream)
    hint = fault.hint
    if isinstance(fault, NotAuthenticated):
        lacks, hint = " has no credential that is good", _log_in(relay)
        if said == _REFUSED or ASKS_LIKE_A_RELAY in said:
            lacks, hint = " lets nobody in without its token", wants_token(relay)
        said = said.replace(_REFUSED, lacks)
    return _again(fault, f"The relay at {relay.url}{said}", hint)


@contextmanager
def as_told_by_relay(invocation: Invocation, *, direct: bool) -> Iterator[None]:
    """A fault in here is told as `said_by_relay` has it, where a relay is in between."""
    try:
        yield
    except MegabotError as fault:
        relay = None if direct else invocation.running_relay()
        if relay is None:
            raise
        raise said_by_relay(fault, relay) from None


def wants_token(relay: RunningRelay) -> str:
    """What to do where a relay does not take the token that we have."""
    return f"Its token is in {relay.token_file}; where that was changed, start the relay anew."


def _renew(relay: RunningRelay) -> str:
    return (
        f"It must be that in {relay.ca_file}, and hold today: where that was renewed, "
        "`megabot relay reload` has the relay show it."
    )


def _log_in(relay: RunningRelay) -> str:
    from megabot_cli.client.refusals import LOG_IN

    profile = "" if relay.profile == "default" else f" -p {relay.profile}"
    login = LOG_IN.replace("megabot login", f"megabot{profile} login").rstrip(".")
    return f"{login}, then `megabot{profile} relay reauth` has the relay read it."


def _again(fault: MegabotError, message: str, hint: str | None) -> MegabotError:
    return type(fault)(
        message, hint, retry_after_s=fault.retry_after_s, close_code=fault.close_code
    )
