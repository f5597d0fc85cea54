"""What is said where a relay's admin address takes the connection, and no answer comes of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from megabot_cli.commands.admin_request import ask_relay
from megabot_cli.errors import CouldNotConnect
from megabot_cli.storage.run_files import RunningRelay


@contextmanager
def relay_that_says(answer: bytes | None, folder: Path) -> Iterator[RunningRelay]:
    """Says that to one request and hangs up; None: it hangs."""
    with socket.create_server(("127.0.0.1", 0)) as door:

        def serve() -> None:
            connection, _ = door.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer or b"")

        thread = threading.Thread(target=serve)
        if answer is not None:
            thread.start()
        url = f"http://127.0.0.1:{door.getsockname()[1]}"
        yield RunningRelay(1, "default", "ws://x", "ws://x", url, "http://x", str(folder / "no"), 0)
        if answer is not None:
            thread.join()


@pytest.mark.parametrize(
    "answer",
    [b"no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", b"", b"HTTP/1.1 9\r\n"],
)
def test_what_is_no_answer_is_no_traceback(answer: bytes, tmp_path: Path) -> None:
    with (
        relay_that_says(answer, tmp_path) as relay,
        pytest.raises(CouldNotConnect, match="does not answer") as refused,
    ):
        ask_relay(relay, "status")
    assert "log says what is wrong" in (refused.value.hint or "")


def test_of_a_deed_it_is_told_that_it_may_be_done_yet(tmp_path: Path) -> None:
    with relay_that_says(None, tmp_path) as relay:
        for wishes, is_deed in ((None, False), ({}, True)):
            with pytest.raises(CouldNotConnect, match="timed out") as refused:
                ask_relay(relay, "drain", wishes, limit_s=0.05)
            assert ("may still do it" in (refused.value.hint or "")) is is_deed
