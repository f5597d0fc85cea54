"""Certificates made for one test, by the openssl program."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate and its key, as PEM files."""

    cert_file: Path
    key_file: Path


def make_certificate(folder: Path, host: str) -> Certificate:
    """One for `host`, a name or an IP address. Skips the test where openssl is not there."""
    made = Certificate(folder / f"{host}.pem", folder / f"{host}.key")
    _openssl(
        "req", "-x509", *_KEY, "-days", 2, "-subj", f"/CN={host}",
        "-addext", f"subjectAltName={_kind(host)}:{host}",
        "-keyout", made.key_file, "-out", made.cert_file,
    )  # fmt: skip
    return made


def make_aged_certificate(
    folder: Path, host: str, *, age_days: float, left_days: float
) -> Certificate:
    """One for `host` that somebody made `age_days` ago, and that ends in `left_days`."""
    made = Certificate(folder / f"{host}.aged.pem", folder / f"{host}.aged.key")
    request, settings = made.key_file.with_suffix(".csr"), folder / "ca.cnf"
    (folder / "index.txt").touch()
    settings.write_text(
        "[ca]\ndefault_ca = own\n[own]\npolicy = names\ndefault_md = sha256\n"
        f"database = {folder / 'index.txt'}\nnew_certs_dir = {folder}\n"
        f"serial = {folder / 'serial'}\n"
        f"[names]\ncommonName = supplied\n[extensions]\nsubjectAltName = {_kind(host)}:{host}\n"
    )
    _openssl("req", *_KEY, "-subj", f"/CN={host}", "-keyout", made.key_file, "-out", request)
    # `openssl x509` lets nobody choose the beginning before its version 3.4.
    _openssl(
        "ca", "-batch", "-selfsign", "-notext", "-create_serial", "-config", settings,
        "-extensions", "extensions", "-keyfile", made.key_file, "-in", request,
        "-startdate", _in_days(-age_days), "-enddate", _in_days(left_days), "-out", made.cert_file,
    )  # fmt: skip
    return made


def end_of(made: Certificate) -> float:
    """Until when it holds, as it says itself: Unix seconds."""
    said = _openssl("x509", "-noout", "-enddate", "-in", made.cert_file)
    return float(ssl.cert_time_to_seconds(said.strip().removeprefix("notAfter=")))


def _in_days(days: float) -> str:
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + days * 86400))


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def _kind(host: str) -> str:
    return "IP" if host.replace(".", "").isdigit() or ":" in host else "DNS"


def _openssl(*arguments: object) -> str:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl not found: no certificate can be made")
    command = [program, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True)
class Authority:
    """Somebody who signs certificates, and whom nobody has to trust."""

    cert_file: Path
    key_file: Path

    def issue(self, host: str, *, days: int = 2) -> Certificate:
        """A certificate for `host`; with -1 `days` one that ended yesterday."""
        folder = self.cert_file.parent
        made = Certificate(folder / f"{host}{days}.pem", folder / f"{host}{days}.key")
        request, extension = made.key_file.with_suffix(".csr"), made.key_file.with_suffix(".ext")
        extension.write_text(f"subjectAltName={_kind(host)}:{host}\nbasicConstraints=CA:FALSE\n")
        _openssl(
            "req", *_KEY, "-subj", f"/CN={host}", "-keyout", made.key_file, "-out", request
        )  # fmt: skip
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.cert_file, "-CAkey", self.key_file,
            "-CAcreateserial", "-days", days, "-extfile", extension, "-out", made.cert_file,
        )  # fmt: skip
        return made


def with_chain(certificate: Certificate, authority: Authority) -> Certificate:
    """The same with its authority's certificate behind it, as servers send it."""
    both = certificate.cert_file.with_suffix(".chain.pem")
    both.write_bytes(certificate.cert_file.read_bytes() + authority.cert_file.read_bytes())
    return Certificate(both, certificate.key_file)


def make_authority(folder: Path) -> Authority:
    made = Authority(folder / "authority.pem", folder / "authority.key")
    _openssl(
        "req", "-x509", *_KEY, "-days", 2, "-subj", "/CN=An authority",
        "-keyout", made.key_file, "-out", made.cert_file,
    )  # fmt: skip
    return made
