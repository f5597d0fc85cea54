"""Log lines: one fact each, on stderr, for people on a terminal and for machines in a pipe."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, Literal, TextIO

import structlog

LogFormat = Literal["auto", "console", "json"]
Scrub = Callable[[str], str]

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


_threshold = logging.INFO


def set_level(level: str) -> None:
    """Show lines of `level` and above from now on, also from loggers made before."""
    global _threshold
    _threshold = _LEVELS[level]


def _drop_below_level(
    _logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    if _LEVELS.get(method, logging.ERROR) < _threshold:
        raise structlog.DropEvent
    return event


def _scrubber(scrub: Scrub) -> structlog.typing.Processor:
    def processor(
        _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        for key, value in event.items():
            if isinstance(value, str):
                event[key] = scrub(value)
        return event

    return processor


def configure_logging(
    *,
    level: str = "info",
    format: LogFormat = "auto",  # noqa: A002  the flag's own name
    debug: bool = False,
    stream: TextIO | None = None,
    scrub: Scrub | None = None,
) -> None:
    """Send log lines of `level` and above to `stream` (stderr).

    `auto` is a console on a terminal and JSON lines elsewhere. `scrub` replaces secrets
    in every text value before it is written. `debug` lowers the level to debug.
    """
    out = stream if stream is not None else sys.stderr
    on_console = format == "console" or (format == "auto" and out.isatty())
    set_level("debug" if debug else level)
    processors: list[structlog.typing.Processor] = [
        _drop_below_level,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if debug:
        processors.append(structlog.processors.format_exc_info)
    if scrub is not None:
        processors.append(_scrubber(scrub))
    if on_console:
        colors = out.isatty()
        processors.append(structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=24))
    else:
        processors.append(structlog.processors.JSONRenderer())
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    # Libraries that log through the standard module say only what matters.
    logging.basicConfig(stream=out, level=logging.WARNING, format="%(name)s: %(message)s")
