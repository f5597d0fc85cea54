"""Certificates made for one test, by the openssl program."""

from __future__ import annotations

import shutil
import subprocess
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
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl not found: no certificate can be made")
    kind = "IP" if host.replace(".", "").isdigit() or ":" in host else "DNS"
    made = Certificate(folder / f"{host}.pem", folder / f"{host}.key")
    command = [program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", f"/CN={host}"]
    command += ["-addext", f"subjectAltName={kind}:{host}"]
    command += ["-keyout", str(made.key_file), "-out", str(made.cert_file)]
    subprocess.run(command, check=True, capture_output=True)
    return made
