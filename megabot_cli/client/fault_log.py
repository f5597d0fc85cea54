"""Where a client tells what went wrong in code that it was handed."""

from __future__ import annotations

import re
import sys
from collections.abc import MutableMapping
from typing import Any

from megabot_cli.recording.harmless_json import STEERING

_STEERING = re.compile(f"[\n{STEERING}]")


def fault_log() -> Any:
    """The log that the program set up; where it set up none, one line each on stderr.

    structlog's own default writes to stdout, where results go, and shows the local variables
    of a fault.
    """
    import structlog  # loads rich: only where there is something to say

    if structlog.is_configured():
        return structlog.get_logger()
    return structlog.wrap_logger(structlog.PrintLogger(sys.stderr), processors=[_one_line])


def _one_line(_logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    fault = event.pop("exc_info", None)
    if fault is not None:
        event["fault"] = f"{type(fault).__name__}: {fault}"
    what = event.pop("event")
    facts = ", ".join(f"{name} {value}" for name, value in event.items())
    return _STEERING.sub(" ", f"{method}: {what}: {facts}")
