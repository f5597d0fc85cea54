"""Log lines: one fact each, on stderr, for people on a terminal and for machines in a pipe."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Callable, MutableMapping
from datetime import datetime
from typing import Any, Literal, TextIO

from megabot_cli.recording.harmless_json import STEERING
from megabot_cli.telemetry.folding import Folded

# structlog loads rich for tracebacks, which are never left to it (see `_explain_fault`): a
# tenth of a second of every start.
_NO_RICH = "rich" not in sys.modules
if _NO_RICH:
    sys.modules["rich"] = None  # type: ignore[assignment]
try:
    import structlog
finally:
    if _NO_RICH:
        del sys.modules["rich"]

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


def _explain_fault(trace: bool) -> structlog.typing.Processor:
    """An exception becomes a `fault` in one line; with `trace` also how it came to it.

    Never left to the renderer: structlog's console shows the local variables of each frame,
    and those are where secrets live.
    """

    def processor(
        _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        fault = _exception(event.pop("exc_info", None))
        if fault is None:
            return event
        event.setdefault("fault", f"{type(fault).__name__}: {fault}")
        if trace:
            event["exception"] = "".join(traceback.format_exception(fault)).rstrip("\n")
        return event

    return processor


def _exception(exc_info: Any) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return exc_info[1] if isinstance(exc_info[1], BaseException) else None
    return sys.exception() if exc_info else None


def _scrubber(scrub: Scrub) -> structlog.typing.Processor:
    def processor(
        _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        for key, value in event.items():
            event[key] = _cleaned(value, scrub)
        return event

    return processor


def _cleaned(value: Any, scrub: Scrub) -> Any:
    match value:
        case str():
            return scrub(value)
        case dict():
            return {_cleaned(key, scrub): _cleaned(each, scrub) for key, each in value.items()}
        case list() | tuple() | set():
            return [_cleaned(each, scrub) for each in value]
        case None | bool() | int() | float():
            return value
    return scrub(repr(value))


# Upstreams and clients choose ids and reasons: none of them may steer the operator's terminal.
_STEERING = re.compile(f"[{STEERING}]")


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _make_harmless(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = _STEERING.sub(_visible, value)
    return event


def _shorten(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """What fits a terminal: the time of day, as `tail` shows it, and no field that says nothing."""
    event["timestamp"] = datetime.now().astimezone().isoformat(timespec="milliseconds")[11:23]
    for key in [key for key, value in event.items() if value is None]:
        del event[key]
    return event


class _LibraryLines(logging.Handler):
    """What libraries say through the standard module, as lines of ours: `library.warned`.

    Not what a stranger sent: no pattern finds a secret that has lost the name before it.
    """

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # a library's own mistake must not end a request
            text = str(record.msg)
        said: dict[str, Any] = {"library": record.name, "said": text, "exc_info": record.exc_info}
        fault = _exception(record.exc_info)
        if type(fault).__module__ == _HTTP_FAULTS:  # a header that is too long, in its own words
            said.update(fault=type(fault).__name__, exc_info=None)
        structlog.get_logger(record.name).warning("library.warned", **said)


# What aiohttp's parser raises: its words repeat what was sent.
_HTTP_FAULTS = "aiohttp.http_exceptions"
# It warns of every client that offers subprotocols we do not have, and repeats them: people
# put tokens there, for it is the one header that a page can set.
_REPEATS_STRANGERS = "aiohttp.websocket"


def _listen_to_libraries() -> None:
    logging.getLogger(_REPEATS_STRANGERS).setLevel(logging.ERROR)
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _LibraryLines):
            root.removeHandler(handler)
    root.addHandler(_LibraryLines(logging.WARNING))


def configure_logging(
    *,
    level: str = "info",
    format: LogFormat = "auto",  # noqa: A002  the flag's own name
    debug: bool = False,
    stream: TextIO | None = None,
    scrub: Scrub | None = None,
    color: bool | None = None,
) -> None:
    """Send log lines of `level` and above to `stream` (stderr).

    `auto` is a console on a terminal and JSON lines elsewhere. `scrub` replaces secrets
    in every text before it is written, however deep. `debug` lowers the level to debug and
    shows how faults came about; `color` None leaves it to the stream. Warnings of libraries
    become lines of the same form. A terminal gets the time of day, everything else the date
    too, in UTC.
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
    processors.append(_explain_fault(debug))
    if scrub is not None:
        processors.append(_scrubber(scrub))
    if on_console:
        colors = out.isatty() if color is None else color
        processors.append(_make_harmless)
        narrow = out.isatty()  # in a file, nothing else tells the day
        if narrow:
            processors.append(_shorten)
        renderer = structlog.dev.ConsoleRenderer(
            colors=colors, pad_event_to=16 if narrow else 24, pad_level=not narrow
        )
        processors.append(Folded(renderer, out) if narrow else renderer)
    else:
        processors.append(structlog.processors.JSONRenderer())
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    _listen_to_libraries()
