"""Our own commands through a relay that listens with TLS, whoever signed its certificate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.scripts.conftest import Operator
from tests.scripts.test_relay_and_recordings import start_relay
from tests.support.certificates import Certificate, make_authority, make_certificate, with_chain
from tests.support.processes import Process, Processes, megabot, wait_until


def name_files(operator: Operator, cert_file: Path | str, key_file: Path | str) -> None:
    (operator.home / "config.yaml").write_text(
        f"relay:\n  tls_cert_file: {cert_file}\n  tls_key_file: {key_file}\n"
    )


def start_with_tls(
    processes: Processes, operator: Operator, certificate: Certificate, *more: str
) -> Process:
    name_files(operator, certificate.cert_file, certificate.key_file)
    return start_relay(processes, operator, "--require-token", "--no-record", *more)


def renewed(folder: Path, host: str) -> Certificate:
    (folder / "renewed").mkdir()
    return make_certificate(folder / "renewed", host)


@pytest.mark.parametrize("signed", ["by itself", "by another", "with its chain"])
def test_a_relay_of_ours_is_known_by_its_certificate_whoever_signed_that(
    stranger: Operator, processes: Processes, tmp_path: Path, signed: str
) -> None:
    """Of a chain a server sends all but the root, and trust ends with what is in the file."""
    stranger.logs_in()
    if signed == "by itself":
        certificate = make_certificate(tmp_path, "relay.example")
    else:
        authority = make_authority(tmp_path)
        certificate = authority.issue("relay.example")
        if signed == "with its chain":
            certificate = with_chain(certificate, authority)
    start_with_tls(processes, stranger, certificate).ready()
    for line in (("send", "hi"), ("send", "hi", "--no-wait"), ("chat",)):
        done = stranger.types(*line, "-v")
        assert done.returncode == 0, (line, done.stderr)


def test_a_renewed_certificate_that_the_relay_does_not_show_yet_is_told_with_what_to_do(
    stranger: Operator, processes: Processes, tmp_path: Path
) -> None:
    stranger.logs_in()
    certificate = make_certificate(tmp_path, "relay.example")
    url = start_with_tls(processes, stranger, certificate).ready()["url"]
    newer = renewed(tmp_path, "relay.example")
    certificate.cert_file.write_bytes(newer.cert_file.read_bytes())
    certificate.key_file.write_bytes(newer.key_file.read_bytes())
    for line in (("send", "hi"), ("chat",), ("tool", "x")):
        done = stranger.types(*line)
        assert done.returncode == 7, line
        said = " ".join(done.stderr.split())
        assert said.startswith(f"error: The certificate of the relay at {url} is not trusted: ")
        assert "`megabot relay reload`" in said
        assert str(certificate.cert_file) in said
        assert "upstream" not in said
    watching = processes.start("tail", megabot("tail"), env=stranger.environment(), typed="")
    wait_until(
        lambda: any("is not trusted" in line for line in watching.error_lines), "tail says so"
    )
    for changed in (["relay.tls_cert_file"], []):
        assert json.loads(stranger.types("relay", "reload", "--json").stdout)["changed"] == changed
    wait_until(lambda: "watching" in watching.errors, "tail watches")
    assert stranger.types("send", "hi").returncode == 0


def test_another_certificate_that_a_reload_names_is_known_too(
    stranger: Operator, processes: Processes, tmp_path: Path
) -> None:
    stranger.logs_in()
    start_with_tls(processes, stranger, make_certificate(tmp_path, "relay.example")).ready()
    newer = renewed(tmp_path, "relay.example")
    name_files(stranger, newer.cert_file, newer.key_file)
    assert stranger.types("relay", "reload").returncode == 0
    done = stranger.types("send", "hi")
    assert done.returncode == 0, done.stderr


def test_a_certificate_is_found_from_everywhere_however_its_file_was_named(
    stranger: Operator, processes: Processes, tmp_path: Path
) -> None:
    stranger.logs_in()
    certificate = make_certificate(tmp_path, "relay.example")
    (stranger.home / "relay.key").write_bytes(certificate.key_file.read_bytes())
    name_files(stranger, certificate.cert_file.name, "~/relay.key")
    command = megabot("relay", "--listen", ":0", "--admin-listen", ":0", "--no-record")
    env = stranger.environment()
    processes.start("relay", command, env=env, typed="", folder=tmp_path).ready()
    done = stranger.shell("cd /; megabot send hi")
    assert done.returncode == 0, done.stderr


def test_a_certificate_of_the_relays_that_has_ended_is_told_as_such(
    stranger: Operator, processes: Processes, tmp_path: Path
) -> None:
    stranger.logs_in()
    ended = make_authority(tmp_path).issue("relay.example", days=-1)
    url = start_with_tls(processes, stranger, ended).ready()["url"]
    said = stranger.types("send", "hi").stderr
    assert said.startswith(f"error: The certificate of the relay at {url} is not trusted: ")
    assert "expired" in said
    status = stranger.types("relay", "status").stdout.splitlines()
    (told,) = (line for line in status if line.startswith("certificate"))
    assert " ended " in told
    doctor = stranger.types("doctor").stdout
    assert f"its certificate at {url} ended" in " ".join(doctor.split())
    assert "`megabot relay reload`" in " ".join(doctor.split())
