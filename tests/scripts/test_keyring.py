"""Credentials in a keyring, through the real `keyring` library with a back end of a test."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.scripts.conftest import PASSWORD, Operator
from tests.support.file_keyring import BACKEND
from tests.support.processes import Processes

ROOT = Path(__file__).parents[2]
LOGIN = ("login", "--username", "ann", "--password-stdin")


def keyring(home: Path, way: str) -> dict[str, str]:
    """The environment in which there is one."""
    return {
        "PYTHON_KEYRING_BACKEND": BACKEND,
        "PYTHONPATH": str(ROOT),
        "KEYRING_FILE": str(home / "keyring.json"),
        "KEYRING_WAY": way,
    }


def test_a_keyring_that_works_holds_the_credential_from_login_to_logout(
    stranger: Operator,
) -> None:
    works = keyring(stranger.home, "works")
    file = Path(works["KEYRING_FILE"])
    done = stranger.types(*LOGIN, typed=PASSWORD, env=works)
    assert done.returncode == 0, done.stderr
    assert "kept in keyring" in done.stderr
    (entry,) = json.loads(file.read_text()).values()
    secret = json.loads(entry)["secret"]
    others = [path for path in stranger.home.rglob("*") if path.is_file() and path != file]
    assert others
    assert not [path for path in others if secret in path.read_text()]

    assert stranger.types("token", env=works).stdout.strip() == secret
    assert json.loads(stranger.types("whoami", "--json", env=works).stdout)["stored"] == "keyring"
    assert stranger.types("send", "hi", env=works).returncode == 0
    done = stranger.types("doctor", "--json", env=works)
    found = {each["check"]: each for each in json.loads(done.stdout)["checks"]}
    assert (found["keyring"]["verdict"], found["login"]["verdict"]) == ("ok", "ok")
    assert list(json.loads(file.read_text()).values()) == [entry]

    assert stranger.types("logout", env=works).returncode == 0
    assert json.loads(file.read_text()) == {}


@pytest.mark.parametrize(
    ("way", "says"), [("hangs", "does not answer within 2 s"), ("forgets", "does not give back")]
)
def test_one_that_does_not_work_leaves_the_credential_to_a_file_soon(
    stranger: Operator, processes: Processes, tmp_path: Path, way: str, says: str
) -> None:
    broken = keyring(stranger.home, way)
    # Somebody else, meanwhile, who wants nothing but the keyring.
    other = Operator(tmp_path / "other", stranger.url)
    other.home.mkdir(mode=0o700)
    wants = (*LOGIN, "--storage", "keyring")
    env = other.environment(keyring(other.home, way))
    demanded = processes.megabot(*wants, typed=PASSWORD, env=env)
    began = time.monotonic()
    done = stranger.types(*LOGIN, typed=PASSWORD, env=broken)
    assert time.monotonic() - began < 10
    assert done.returncode == 0, done.stderr
    assert f"kept in file {stranger.home}" in done.stderr
    done = stranger.types("doctor", "--json", env=broken)
    found = {each["check"]: each for each in json.loads(done.stdout)["checks"]}
    assert found["keyring"]["verdict"] == "warn"
    assert says in found["keyring"]["message"]
    assert done.returncode == 0
    advised = found["keyring"]["fix"].rpartition(" ")[2].split("=")
    done = stranger.types("doctor", "--json", env={**broken, advised[0]: advised[1]})
    found = {each["check"]: each for each in json.loads(done.stdout)["checks"]}
    assert found["keyring"]["verdict"] == "ok", found["keyring"]
    assert demanded.wait() == 12
    assert says in demanded.errors


def test_a_keyring_that_went_away_is_what_doctor_names(stranger: Operator) -> None:
    stranger.types(*LOGIN, typed=PASSWORD, env=keyring(stranger.home, "works"))
    done = stranger.types("doctor", "--json", env=keyring(stranger.home, "hangs"))
    found = {each["check"]: each for each in json.loads(done.stdout)["checks"]}
    assert found["login"]["exit"] == done.returncode == 12
    assert "Unlock it" in found["login"]["fix"]
