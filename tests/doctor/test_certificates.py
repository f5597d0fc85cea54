"""Certificates that are wrong, on real TLS connections: what is wrong, and how to mend it."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from megabot_cli.doctor.certificates import Certificate as Read
from megabot_cli.doctor.certificates import problems
from megabot_cli.doctor.findings import Finding
from tests.doctor.cases import case_at, findings_of
from tests.support.certificates import (
    Authority,
    Certificate,
    make_authority,
    make_certificate,
    with_chain,
)
from tests.support.upstream import ScriptedUpstream, greet_and_wait


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


def fingerprint_of(certificate: Certificate | Authority) -> str:
    import hashlib

    der = ssl.PEM_cert_to_DER_cert(certificate.cert_file.read_text())
    return hashlib.sha256(der).hexdigest().upper()


async def found_with(home: Path, shown: Certificate, **settings: Any) -> dict[str, Finding]:
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(shown.cert_file, shown.key_file)
    async with ScriptedUpstream(greet_and_wait, tls=served) as upstream:
        return await findings_of(case_at(home, upstream.url, **settings))


async def test_a_trusted_certificate_is_told_with_its_end(
    tmp_path: Path, authority: Authority
) -> None:
    shown = authority.issue("127.0.0.1", days=30)
    findings = await found_with(tmp_path, shown, tls_ca_file=authority.cert_file)
    finding = findings["tls"]
    assert finding.verdict == "ok"
    assert "signed by An authority, until " in finding.message
    told = finding.facts["certificate"]
    assert told["fingerprint"].replace(":", "") == fingerprint_of(shown)
    assert list(told["names"]) == ["127.0.0.1"]
    assert findings["socket"].verdict == "ok"


async def test_a_plain_address_of_a_port_that_speaks_tls_is_told(
    tmp_path: Path, authority: Authority
) -> None:
    shown = authority.issue("127.0.0.1", days=30)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(shown.cert_file, shown.key_file)
    async with ScriptedUpstream(greet_and_wait, tls=served) as upstream:
        plain = upstream.url.replace("wss://", "ws://")
        findings = await findings_of(case_at(tmp_path, plain))
    assert (findings["tls"].message, findings["tls"].fix) == (
        "It speaks TLS: use wss://", f"Try --url {upstream.url}",
    )  # fmt: skip
    assert findings["socket"].message == "tls failed"


async def test_a_chain_is_told_as_it_was_sent_and_ends_with_the_first_of_it(
    tmp_path: Path, authority: Authority
) -> None:
    shown = with_chain(authority.issue("127.0.0.1", days=60), authority)
    finding = (await found_with(tmp_path, shown, tls_ca_file=authority.cert_file))["tls"]
    assert "127.0.0.1 ← An authority, signed by itself, until " in finding.message
    (signer,) = finding.facts["chain"]
    assert (signer["subject"], signer["issuer"]) == ("An authority", "An authority")
    assert signer["fingerprint"].replace(":", "") == fingerprint_of(authority)
    # The authority of these tests lasts for two days.
    assert finding.verdict == "warn"


async def test_one_that_ends_soon_is_a_warning(tmp_path: Path, authority: Authority) -> None:
    shown = authority.issue("127.0.0.1", days=3)
    finding = (await found_with(tmp_path, shown, tls_ca_file=authority.cert_file))["tls"]
    assert finding.verdict == "warn"
    assert "only 3 days left" in finding.message


@pytest.mark.parametrize("trusted", [True, False])
async def test_an_expired_one_is_named_so_whether_or_not_its_signer_is_known(
    tmp_path: Path, authority: Authority, trusted: bool
) -> None:
    shown = authority.issue("127.0.0.1", days=-1)
    settings = {"tls_ca_file": authority.cert_file} if trusted else {}
    findings = await found_with(tmp_path, shown, **settings)
    finding = findings["tls"]
    assert (finding.verdict, finding.exit) == ("fail", 7)
    assert "expired since " in finding.message
    assert "must renew it" in str(finding.fix)
    assert finding.facts["problems"] == (["expired"] if trusted else ["expired", "unknown_issuer"])
    # The clock is asked all the same: it may be what is wrong.
    assert findings["clock"].verdict == "ok"
    assert findings["socket"].message == "tls failed"


async def test_one_for_another_host_names_both(tmp_path: Path, authority: Authority) -> None:
    shown = authority.issue("other.example")
    finding = (await found_with(tmp_path, shown, tls_ca_file=authority.cert_file))["tls"]
    assert "for other.example, not for 127.0.0.1" in finding.message
    assert finding.facts["problems"] == ["other_host"]
    assert "profile's url" in str(finding.fix)


async def test_a_self_signed_one_can_be_pinned_as_the_fix_says(tmp_path: Path) -> None:
    shown = make_certificate(tmp_path, "127.0.0.1")
    finding = (await found_with(tmp_path, shown))["tls"]
    assert finding.facts["problems"] == ["self_signed"]
    assert "signed by nobody but itself" in finding.message
    fingerprint = str(finding.fix).rpartition("MEGABOT_TLS_FINGERPRINT: ")[2]
    assert fingerprint.replace(":", "") == fingerprint_of(shown)
    pinned = await found_with(tmp_path, shown, tls_fingerprint=fingerprint)
    assert (pinned["tls"].verdict, pinned["socket"].verdict) == ("ok", "ok")


async def test_everything_wrong_with_one_is_told_at_once(
    tmp_path: Path, authority: Authority
) -> None:
    finding = (await found_with(tmp_path, authority.issue("other.example", days=-1)))["tls"]
    assert finding.facts["problems"] == ["expired", "other_host", "unknown_issuer"]
    assert "whom this machine does not know" in finding.message


async def test_another_than_the_pinned_one_is_a_failure(tmp_path: Path) -> None:
    shown = make_certificate(tmp_path, "127.0.0.1")
    finding = (await found_with(tmp_path, shown, tls_fingerprint="ab" * 32))["tls"]
    assert finding.verdict == "fail"
    assert "is not the pinned one" in finding.message


async def test_one_that_is_not_verified_is_a_warning_with_its_fingerprint(tmp_path: Path) -> None:
    shown = make_certificate(tmp_path, "127.0.0.1")
    findings = await found_with(tmp_path, shown, tls_insecure="true")
    assert findings["tls"].verdict == "warn"
    assert fingerprint_of(shown) in findings["tls"].message.replace(":", "")
    assert findings["socket"].verdict == "ok"


async def test_an_upstream_without_tls_is_told(tmp_path: Path) -> None:
    async with ScriptedUpstream(greet_and_wait) as upstream:
        findings = await findings_of(case_at(tmp_path, upstream.url.replace("ws:", "wss:")))
    assert findings["tls"].exit == 7
    assert "ws://" in str(findings["tls"].fix)


async def test_pins_and_files_of_no_use_are_bad_configuration(tmp_path: Path) -> None:
    shown = make_certificate(tmp_path, "127.0.0.1")
    findings = await found_with(tmp_path, shown, tls_ca_file=tmp_path / "nowhere.pem")
    assert findings["tls"].exit == 12


@pytest.mark.parametrize(
    ("names", "host", "covered"),
    [
        (("a.example",), "A.example", True),
        (("*.example",), "a.example", True),
        (("*.example",), "a.b.example", False),
        (("*.example",), "example", False),
        (("0:0:0:0:0:0:0:1",), "::1", True),
        ((), "a.example", False),
    ],
)
def test_a_certificate_covers_the_hosts_it_names(
    names: tuple[str, ...], host: str, covered: bool
) -> None:
    assert Read("", names=names).covers(host) is covered


def test_one_that_is_not_valid_yet_points_at_the_clock() -> None:
    now = time.time()
    found = problems(Read("", not_before=now + 10), "a", 9, now, own_ca=True)
    assert [word for word, _, _ in found] == ["not_yet_valid"]
    assert "clock" in found[0][2]
