"""Log lines hold no secret and no trace that nobody asked for, whoever writes them."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer

from megabot_cli.recording.redaction import Redactor
from megabot_cli.telemetry.logs import LogFormat, _LibraryLines, configure_logging

SECRET = "c4n4ry7Q9zL2mX8vB3nT"
CANARY = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlLW9mLWEtY2FuYXJ5"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:]
    yield
    for handler in root.handlers[:]:
        if handler not in before and isinstance(handler, _LibraryLines):
            root.removeHandler(handler)
    structlog.reset_defaults()


def lines(*, form: LogFormat = "json", debug: bool = False) -> io.StringIO:
    out = io.StringIO()
    scrub = Redactor(os.urandom(16)).clean
    configure_logging(format=form, debug=debug, stream=out, scrub=scrub)
    return out


def fail_with_a_secret() -> None:
    local = CANARY  # a renderer that shows local variables would show it
    raise ValueError(f"not accepted: token={local}")


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("debug", [False, True])
def test_no_secret_gets_out_of_fields_faults_and_traces(form: LogFormat, debug: bool) -> None:
    out = lines(form=form, debug=debug)
    log = structlog.get_logger()
    bearer = f"Bearer {CANARY}"
    log.info("thing.done", plain=bearer, nested=[bearer, {"a": (bearer,)}], odd=ValueError(bearer))
    try:
        fail_with_a_secret()
    except ValueError as fault:
        log.error("thing.failed", exc_info=fault)
        log.exception("thing.failed")
        logging.getLogger("aiohttp.server").exception("Error handling %s", bearer)
    said = out.getvalue()
    assert said.count("redacted:") >= 5
    assert CANARY not in said
    assert CANARY[:24] not in said


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_fault_is_one_line_and_its_trace_is_for_debug(form: LogFormat) -> None:
    for debug in (False, True):
        out = lines(form=form, debug=debug)
        try:
            raise LookupError("the thing is gone")
        except LookupError:
            structlog.get_logger().exception("thing.failed")
        said = out.getvalue()
        assert "LookupError: the thing is gone" in said
        assert ("Traceback" in said) is debug
        if not debug:
            assert said.count("\n") == 1


def test_a_fault_that_was_put_into_words_keeps_them() -> None:
    out = lines()
    structlog.get_logger().error("thing.failed", fault="in words", exc_info=ValueError("raw"))
    assert json.loads(out.getvalue())["fault"] == "in words"


def test_what_a_library_says_is_a_line_like_any_other() -> None:
    out = lines()
    library = logging.getLogger("aiohttp.client")
    library.addHandler(logging.getLogger().handlers[-1])
    library.propagate = False  # pytest's own handler does not forgive
    library.warning("slow: %d s", 3)
    library.info("nobody wants to know")
    library.warning("wrong %d", "word")  # its own mistake ends nothing
    library.propagate = True
    library.handlers.clear()
    said: list[dict[str, Any]] = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [each["said"] for each in said] == ["slow: 3 s", "wrong %d"]
    assert {each["event"] for each in said} == {"library.warned"}
    assert {each["library"] for each in said} == {"aiohttp.client"}


@pytest.mark.parametrize("debug", [False, True])
async def test_what_a_stranger_sent_wrongly_is_not_repeated(debug: bool) -> None:
    """A header too long is told with its beginning, subprotocols with all of them."""

    async def serve(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("ours",))
        await socket.prepare(request)
        await socket.close()
        return socket

    app = web.Application()
    app.router.add_get("/", serve)
    out = lines(debug=debug)
    handlers = logging.getLogger().handlers
    others = [handler for handler in handlers if not isinstance(handler, _LibraryLines)]
    for handler in others:  # pytest's own would fail the test
        handlers.remove(handler)
    try:
        async with TestServer(app) as server, aiohttp.ClientSession() as http:
            with pytest.raises(aiohttp.ClientError):
                await http.ws_connect(server.make_url("/"), headers={"X-API-Key": SECRET * 500})
            async with http.ws_connect(server.make_url("/"), protocols=("bearer", SECRET)):
                pass
    finally:
        handlers.extend(others)
    said = out.getvalue()
    assert SECRET not in said
    assert '"LineTooLong"' in said


def test_what_a_peer_chose_cannot_steer_the_terminal() -> None:
    out = lines(form="console")
    structlog.get_logger().info("client.opened", session="\x1b]0;mine\x07\x9b2J", why="tab\there")
    said = out.getvalue()
    assert "\\x1b]0;mine\\x07\\x9b2J" in said
    assert not {"\x1b", "\x07", "\x9b"} & set(said)


def test_what_a_peer_chose_cannot_turn_a_line_around() -> None:
    out = lines(form="console")
    structlog.get_logger().info("client.opened", session="ab\u202edc", deep={"id": "\u202e"})
    assert "ab\\u202edc" in out.getvalue()
    assert "\u202e" not in out.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_the_time_of_day_and_no_field_that_says_nothing() -> None:
    out = Terminal()
    configure_logging(stream=out, color=False)
    structlog.get_logger().info("client.opened", client="client_1", session=None)
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} \[info\] client\.opened +client=client_1\n", out.getvalue()
    )
    said = lines(form="console")
    structlog.get_logger().info("client.opened", session=None)
    assert re.match(r"\d{4}-\d\d-\d\dT.*Z ", said.getvalue())


def test_colour_is_the_operators_choice() -> None:
    for color in (False, True):
        out = io.StringIO()
        configure_logging(format="console", stream=out, color=color)
        structlog.get_logger().info("thing.done")
        assert ("\x1b[" in out.getvalue()) is color


def test_configuring_twice_writes_a_librarys_line_once() -> None:
    lines()
    out = lines()
    logging.getLogger("aiohttp.client").warning("once")
    assert out.getvalue().count("once") == 1


def test_a_loop_that_ends_without_a_fault_has_no_field_for_one() -> None:
    out = lines()
    structlog.get_logger().error("thing.failed", exc_info=None)
    assert "fault" not in json.loads(out.getvalue())


def test_the_first_line_costs_no_library_that_draws() -> None:
    code = "import megabot_cli.telemetry.logs, sys; print('rich' in sys.modules); import rich.text"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
