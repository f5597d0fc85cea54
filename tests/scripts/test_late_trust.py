"""The system's certificates are read late, and judge all the same."""

from __future__ import annotations

import http.server
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scripts.conftest import Operator
from tests.support.certificates import Certificate, make_certificate


class Refuses(http.server.BaseHTTPRequestHandler):
    """An upstream that knows nobody."""

    def do_POST(self) -> None:
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None: ...


@pytest.fixture
def shown(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path, "127.0.0.1")


@pytest.fixture
def upstream(shown: Certificate) -> Iterator[str]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(shown.cert_file, shown.key_file)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"wss://127.0.0.1:{server.server_port}/ws"
        server.shutdown()


def test_only_whom_the_system_trusts_hears_the_password(
    stranger: Operator, upstream: str, shown: Certificate
) -> None:
    login = ("login", "--url", upstream, "--username", "ann", "--password-stdin")
    unknown = stranger.types(*login, typed="a password")
    assert "certificate" in unknown.stderr.lower()
    known = stranger.types(*login, typed="a password", env={"SSL_CERT_FILE": str(shown.cert_file)})
    assert "certificate" not in known.stderr.lower()
    assert "401" in known.stderr or "refused" in known.stderr.lower()
    assert known.returncode != unknown.returncode


LATE = """
import ssl
from megabot_cli.client.late_trust import read_certificates_late
read_certificates_late()
import aiohttp.connector
context = aiohttp.connector._SSL_CONTEXT_VERIFIED
assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
before = len(context.get_ca_certs())
context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="a.example")
print(before, len(context.get_ca_certs()))
assert len(ssl.create_default_context().get_ca_certs()) == 1
"""


def test_they_are_read_when_the_first_connection_is_made(shown: Certificate) -> None:
    """When this fails, `ssl` or aiohttp is built differently: mend `late_trust.py`."""
    done = subprocess.run(
        [sys.executable, "-c", LATE],
        env={"SSL_CERT_FILE": str(shown.cert_file), "SSL_CERT_DIR": str(shown.cert_file.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "0 1\n", done.stderr
