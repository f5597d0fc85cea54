"""Everything that can go wrong for an operator, each with its exit code.

MegabotError
├── WrongUsage 2            ├── NotFound 9
├── TimedOut 3              ├── RateLimited 10
├── NotAuthenticated 4      ├── BadData 11
├── NotPermitted 5          ├── BadConfiguration 12
├── UpstreamRefused 6       ├── ExpectationFailed 13
├── CouldNotConnect 7       └── PartlyFailed 14
└── ConnectionLost 8
"""

from __future__ import annotations

import errno
from typing import ClassVar


class MegabotError(Exception):
    """What happened, in one sentence, and what to do about it.

    `hint` is shown under the message; `retryable` says whether the same command may
    succeed unchanged a little later. Raised where the fault enters, carried out once,
    in `app.main`.
    """

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        hint: str | None = None,
        *,
        retry_after_s: float | None = None,
        close_code: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.retry_after_s = retry_after_s
        self.close_code = close_code


class WrongUsage(MegabotError):
    exit_code = 2
    code = "usage"


class TimedOut(MegabotError):
    exit_code = 3
    code = "timeout"
    retryable = True


class NotAuthenticated(MegabotError):
    exit_code = 4
    code = "not_authenticated"


class NotPermitted(MegabotError):
    exit_code = 5
    code = "not_permitted"


class UpstreamRefused(MegabotError):
    """The upstream answered, and the answer was an error."""

    exit_code = 6
    code = "upstream_error"


class CouldNotConnect(MegabotError):
    exit_code = 7
    code = "could_not_connect"
    retryable = True


class ConnectionLost(MegabotError):
    exit_code = 8
    code = "connection_lost"
    retryable = True


class NotFound(MegabotError):
    exit_code = 9
    code = "not_found"


class RateLimited(MegabotError):
    exit_code = 10
    code = "rate_limited"
    retryable = True


class BadData(MegabotError):
    exit_code = 11
    code = "bad_data"


class BadConfiguration(MegabotError):
    exit_code = 12
    code = "bad_configuration"


class ExpectationFailed(MegabotError):
    exit_code = 13
    code = "expectation_failed"


class PartlyFailed(MegabotError):
    exit_code = 14
    code = "partly_failed"


def is_disk_full(fault: OSError) -> bool:
    """Whether the disk, or what we may use of it, has no more room."""
    return fault.errno in (errno.ENOSPC, errno.EDQUOT)
