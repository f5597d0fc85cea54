"""Pinned certificates and certificates of our own, over real TLS."""

from __future__ import annotations

import hashlib
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from megabot_cli.client import MegaBotClient
from megabot_cli.client.trust import PinnedContext, tls_context
from megabot_cli.config.schema import TlsSettings
from megabot_cli.errors import BadConfiguration, CouldNotConnect, MegabotError
from tests.client.conversations import echo
from tests.support.certificates import Certificate, make_authority, make_certificate
from tests.support.upstream import ScriptedUpstream


def fingerprint_of(certificate: Path) -> str:
    der = ssl.PEM_cert_to_DER_cert(
        certificate.read_text().partition("-----BEGIN PRIVATE")[0].strip() + "\n"
    )
    return hashlib.sha256(der).hexdigest()


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate that a client shows."""
    return make_certificate(tmp_path_factory.mktemp("ours"), "client.example")


@pytest.fixture
def demanding_tls(certificate: Path, ours: Certificate) -> ssl.SSLContext:
    """A server that lets in only who shows our certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(ours.cert_file)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def answer_over(tls: ssl.SSLContext, **settings: Any) -> str:
    """Log in and ask over TLS with these settings of a profile."""
    async with (
        ScriptedUpstream(echo, tls=tls) as upstream,
        MegaBotClient(
            upstream.url,
            username="ada",
            password="lovelace",
            reconnect=None,
            ssl=tls_context(TlsSettings(**settings)),
        ) as client,
    ):
        return (await client.ask("hi")).text


@pytest.mark.parametrize(
    "form", ["{}", "SHA256:{}", "sha256 Fingerprint={}", "SHA-256: {}", "colons"]
)
async def test_the_pinned_certificate_is_enough(
    server_tls: ssl.SSLContext, certificate: Path, form: str
) -> None:
    bare = fingerprint_of(certificate)
    pin = bytes.fromhex(bare).hex(":").upper() if form == "colons" else form.format(bare)
    assert await answer_over(server_tls, fingerprint=pin) == "hi"


async def test_another_certificate_is_refused_before_anything_is_said(
    server_tls: ssl.SSLContext, certificate: Path
) -> None:
    with pytest.raises(CouldNotConnect) as refused:
        await answer_over(server_tls, fingerprint="ab" * 32)
    found = bytes.fromhex(fingerprint_of(certificate)).hex(":").upper()
    assert found in refused.value.message
    assert "AB:AB:AB" in refused.value.message
    assert "tls.fingerprint" in (refused.value.hint or "")


async def test_with_ca_file_the_pin_comes_on_top(
    server_tls: ssl.SSLContext, certificate: Path, ours: Certificate
) -> None:
    pin = fingerprint_of(certificate)
    assert await answer_over(server_tls, fingerprint=pin, ca_file=str(certificate)) == "hi"
    with pytest.raises(CouldNotConnect, match="not trusted"):
        await answer_over(server_tls, fingerprint=pin, ca_file=str(ours.cert_file))


async def test_a_certificate_of_ours_is_shown_also_beside_a_pin(
    demanding_tls: ssl.SSLContext, certificate: Path, ours: Certificate
) -> None:
    shown = {"client_cert_file": str(ours.cert_file), "client_key_file": str(ours.key_file)}
    assert await answer_over(demanding_tls, ca_file=str(certificate), **shown) == "hi"
    pin = fingerprint_of(certificate)
    assert await answer_over(demanding_tls, fingerprint=pin, **shown) == "hi"


async def test_without_it_the_upstream_refuses(
    demanding_tls: ssl.SSLContext, certificate: Path
) -> None:
    with pytest.raises(MegabotError):
        await answer_over(demanding_tls, ca_file=str(certificate))


@pytest.mark.parametrize("text", ["", "ab", "zz" * 32, "ab" * 33, "md5:" + "ab" * 32])
def test_what_is_no_fingerprint_is_told(text: str) -> None:
    with pytest.raises(BadConfiguration, match="SHA-256") as refused:
        tls_context(TlsSettings(fingerprint=text))
    assert "openssl" in (refused.value.hint or "")


def test_a_client_certificate_of_no_use_is_told(tmp_path: Path, ours: Certificate) -> None:
    (tmp_path / "none.pem").write_text("nothing")
    locked = tmp_path / "locked.key"
    command = ["openssl", "pkcs8", "-topk8", "-in", str(ours.key_file), "-out", str(locked)]
    subprocess.run([*command, "-passout", "pass:secret"], check=True, capture_output=True)
    for settings in (
        TlsSettings(client_cert_file=str(tmp_path / "missing.pem")),
        TlsSettings(client_cert_file=str(tmp_path / "none.pem")),
        TlsSettings(client_cert_file=str(ours.cert_file)),
        TlsSettings(client_cert_file=str(ours.cert_file), client_key_file=str(locked)),
        TlsSettings(client_key_file=str(ours.key_file)),
    ):
        with pytest.raises(BadConfiguration, match=r"tls\.client_") as refused:
            tls_context(settings)
        assert "PEM lib" not in refused.value.message  # OpenSSL's word for three faults


def test_nothing_is_checked_less_than_before_where_nothing_is_pinned() -> None:
    plain = tls_context(TlsSettings())
    assert not isinstance(plain, PinnedContext)
    assert (plain.check_hostname, plain.verify_mode) == (True, ssl.CERT_REQUIRED)


@pytest.mark.parametrize(
    ("host", "days", "says", "to_do"),
    [
        ("127.0.0.1", -1, "certificate has expired", "must renew it"),
        ("elsewhere.example", 2, "not valid for '127.0.0.1'", "Use a host that it is made for"),
    ],
)
async def test_what_to_do_about_a_certificate_is_of_its_fault(
    tmp_path: Path, host: str, days: int, says: str, to_do: str
) -> None:
    authority = make_authority(tmp_path)
    shown = authority.issue(host, days=days)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(shown.cert_file, shown.key_file)
    with pytest.raises(CouldNotConnect, match=says) as refused:
        await answer_over(server, ca_file=str(authority.cert_file))
    assert to_do in (refused.value.hint or "")
    assert "tls.ca_file" not in (refused.value.hint or "")


def test_a_file_without_certificates_is_told_in_words(tmp_path: Path) -> None:
    file = tmp_path / "none.pem"
    file.write_text("no certificate")
    for settings in (TlsSettings(ca_file=str(file)), TlsSettings(client_cert_file=str(file))):
        with pytest.raises(BadConfiguration) as refused:
            tls_context(settings)
        assert "_ssl.c" not in str(refused.value)
        assert "[" not in str(refused.value)
