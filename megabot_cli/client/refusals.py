"""An upstream's refusal as an error of ours: over HTTP or as a `connection_error`.

What an upstream writes is foreign text: it may repeat our secret, fill a screen, or hold
characters that steer a terminal. It is cleaned here before it stands in an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from megabot_cli.client.credentials import Credential
from megabot_cli.errors import (
    BadData,
    ConnectionLost,
    CouldNotConnect,
    MegabotError,
    NotAuthenticated,
    NotPermitted,
    RateLimited,
    UpstreamRefused,
)
from megabot_cli.protocol.close_codes import MEANING, CloseCode

MOST_FOREIGN_CHARACTERS = 300

LOG_IN = "Log in again with `megabot login`."

# A date goes by two clocks, of which one may be wrong: nobody is to stay away for years.
LONGEST_REST_S = 3600.0

# In which words a relay of ours, taken for an upstream, asks for its client token.
ASKS_LIKE_A_RELAY = "the client token is needed"
_LET_IN_BY = (
    "A relay listens there, and whoever runs it has its token in the file state/client-token of "
    "MEGABOT_HOME, else in ~/.local/state/megabot/client-token. Give it in MEGABOT_TOKEN, or to "
    "`megabot login --api-key-stdin`."
)
_ANOTHER_MAY = "`megabot whoami` says whose credential this is; another one may be permitted."
_ITS_OWN_FAULT = "Try again; where it stays so, whoever runs the upstream has to look."

# Bad gateway, service unavailable, gateway timeout (RFC 9110, 15.6).
_NOT_READY = (502, 503, 504)

_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")

# For refusals that name no code: the words the specification and our gateway use.
_CODES = {
    "authentication_failed": 401,
    "unauthorized": 401,
    "forbidden": 403,
    "rate_limited": 429,
    "too_large": 413,
}


class Refusal(msgspec.Struct, frozen=True):
    """What an upstream said when it said no. Each field may be missing."""

    code: int | None = None
    error: str = ""
    message: str = ""
    retry_after_s: float | None = None


def read_refusal(body: bytes | str, code: int | None = None) -> Refusal:
    """Read `{error, message, code}`, liberally: any other body is a refusal without words."""
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return Refusal(code)
    return refusal_from(content, code)


def refusal_from(content: Any, code: int | None = None) -> Refusal:
    """As `read_refusal`, of values already decoded."""
    if not isinstance(content, dict):
        return Refusal(code)
    error, message = _text(content.get("error")), _text(content.get("message"))
    named = content.get("code")
    if code is None and isinstance(named, int) and not isinstance(named, bool):
        code = named
    if code is None:
        code = _CODES.get(error)
    return Refusal(code, error, message, _rest_s(content.get("retry_after")))


def refusal_error(
    refusal: Refusal, who: str, *, secret: str | None = None, hint: str | None = None
) -> MegabotError:
    """The error for a refusal by `who` ("The upstream at ws://…")."""
    words = clean(refusal.message or refusal.error.replace("_", " "), secret)
    said = f": {words}" if words else ""
    match refusal.error:
        # What a relay says of the upstream behind it.
        case "upstream_unavailable":
            return CouldNotConnect(words or f"{who} is away", hint or "Try again when it is back.")
        case "delivery_unknown":
            return ConnectionLost(words, hint or "Look whether it arrived before sending it again.")
    match refusal.code:
        case 401:
            helps = _LET_IN_BY if ASKS_LIKE_A_RELAY in words else hint or LOG_IN
            return NotAuthenticated(f"{who} refused the credential{said}", helps)
        case 403:
            another = _ANOTHER_MAY if who.startswith("The upstream") else None
            return NotPermitted(f"{who} does not permit this{said}", hint or another)
        case 429:
            after = refusal.retry_after_s
            when = hint or (f"Try again in {after:g} s." if after else "Try again a little later.")
            return RateLimited(f"{who} asks to slow down{said}", when, retry_after_s=after)
        case 400 | 413:
            return BadData(f"{who} does not accept the message{said}", hint)
        case None:
            return UpstreamRefused(f"{who} answered with an error{said}", hint)
        case code:
            return UpstreamRefused(
                f"{who} answered with error {code}{said}",
                hint or (_ITS_OWN_FAULT if code >= 500 else None),
                retry_after_s=refusal.retry_after_s,
            )


def connecting_error(
    refusal: Refusal, who: str, *, secret: str | None = None, hint: str | None = None
) -> MegabotError:
    """As `refusal_error`, for whoever is not connected yet: then an upstream that is not ready,
    or a proxy before it, is worth another try."""
    if refusal.code not in _NOT_READY or refusal.error == "upstream_unavailable":
        return refusal_error(refusal, who, secret=secret, hint=hint)
    words = clean(refusal.message or refusal.error.replace("_", " "), secret)
    after = refusal.retry_after_s
    return CouldNotConnect(
        f"{who} takes no connection now: {refusal.code}{f', {words}' if words else ''}",
        hint or (f"Try again in {after:g} s." if after else "Try again a little later."),
        retry_after_s=after,
    )


def closed_error(code: int, reason: str, who: str, *, secret: str | None = None) -> MegabotError:
    """The error for a connection that `who` closed before it was of any use."""
    meaning = MEANING.get(code, "no known meaning")
    words = clean(reason, secret)
    what = f"{who} closed the connection at once: {code}, {meaning}"
    if words:
        what += f" ({words})"
    match code:
        case CloseCode.CREDENTIAL_REFUSED:
            return NotAuthenticated(what, LOG_IN, close_code=code)
        case CloseCode.TOO_MANY_CLIENTS:
            return RateLimited(what, "Try again when others have left.", close_code=code)
        case 1001 | 1006 | CloseCode.SERVICE_RESTART | CloseCode.TRY_AGAIN_LATER:
            return CouldNotConnect(what, "Try again a little later.", close_code=code)
        case _:
            return UpstreamRefused(what, close_code=code)


def clean(text: str, secret: str | None = None) -> str:
    """Foreign text as one printable line of bounded length, our secret taken out of it."""
    if secret:
        text = text.replace(secret, "[secret]")
    text = text[: MOST_FOREIGN_CHARACTERS * 4]
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(line) > MOST_FOREIGN_CHARACTERS:
        line = line[:MOST_FOREIGN_CHARACTERS] + "…"
    return line.rstrip(".")


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """The `Retry-After` header (RFC 9110, 10.2.3) as seconds from `now` (Unix), if readable;
    `LONGEST_REST_S` at most."""
    value = headers.get("Retry-After")
    if value is None:
        return None
    if _NUMBER.fullmatch(value.strip()):
        return _rest_s(float(value))
    try:
        return min(max(0.0, parsedate_to_datetime(value).timestamp() - now), LONGEST_REST_S)
    except (ValueError, OverflowError):
        return None


def seconds_of(value: Any) -> float | None:
    """A foreign number of seconds: finite and not negative, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < 1e12 else None


def _rest_s(value: Any) -> float | None:
    """For how long somebody asks to be left alone."""
    seconds = seconds_of(value)
    return None if seconds is None else min(seconds, LONGEST_REST_S)


def who_of(address: str) -> str:
    return f"The upstream at {address}"


def refused_credential(credential: Credential, origin: str) -> NotAuthenticated:
    """The error for a credential that must not leave for `origin`."""
    return NotAuthenticated(
        f"The credential was given for {credential.origin} and is not sent to {origin}",
        "Log in there with `megabot login --url …`.",
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
