from __future__ import annotations

import base64
import errno
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.client.credentials import Credential, CredentialStore, jwt_expiry
from megabot_cli.errors import BadConfiguration

ORIGIN = "http://127.0.0.1:3000"
SECRET = "the-secret-itself"

KEYRING = """
from pathlib import Path
import json, time
FILE = Path({file!r})
def _all():
    return json.loads(FILE.read_text()) if FILE.exists() else {{}}
def get_password(service, name):
    {get}
    return _all().get(f"{{service}}/{{name}}")
def set_password(service, name, value):
    {set}
    FILE.write_text(json.dumps(_all() | {{f"{{service}}/{{name}}": value}}))
def delete_password(service, name):
    FILE.write_text(json.dumps({{k: v for k, v in _all().items() if k != f"{{service}}/{{name}}"}}))
"""


def credential(secret: str = SECRET, origin: str = ORIGIN) -> Credential:
    return Credential("jwt", secret, origin, username="ada", refresh_token="the-refresh-token")


def install_keyring(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    *,
    get: str = "...",
    set: str = "...",  # noqa: A002
) -> Path:
    """Put a `keyring` module in the way that keeps its entries in a file."""
    place = folder / "module"
    place.mkdir(exist_ok=True)
    file = folder / "keyring.json"
    (place / "keyring.py").write_text(KEYRING.format(file=str(file), get=get, set=set))
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.delitem(sys.modules, "keyring", raising=False)
    return file


@pytest.fixture
def store(tmp_path: Path) -> CredentialStore:
    return CredentialStore(tmp_path / "data" / "credentials", "file")


def test_a_credential_shows_no_secret() -> None:
    secret = credential()
    shown = f"{secret!r} {secret} {secret.__rich_repr__()} {[secret]}"
    assert SECRET not in shown
    assert "refresh-token" not in shown
    assert repr(secret) == f"<jwt of ada for {ORIGIN}>"


def test_what_is_saved_is_loaded(store: CredentialStore) -> None:
    assert store.save("default", credential()) == "file"
    assert store.load("default", ORIGIN) == credential()
    assert store.profiles() == ["default"]


def test_a_credential_is_given_to_the_origin_it_is_for_and_no_other(store: CredentialStore) -> None:
    store.save("default", credential())
    for other in ("https://127.0.0.1:3000", "http://127.0.0.1:3001", "http://localhost:3000", ""):
        assert store.load("default", other) is None


def test_the_origin_beside_the_secret_cannot_be_forged(
    store: CredentialStore, tmp_path: Path
) -> None:
    store.save("default", credential())
    file = tmp_path / "data" / "credentials" / "default.json"
    stored = msgspec.json.decode(file.read_bytes())
    stored["origin"] = "https://elsewhere.example"
    file.write_bytes(msgspec.json.encode(stored))
    assert store.load("default", "https://elsewhere.example") is None


def test_nobody_else_can_read_the_file_or_the_folder(
    store: CredentialStore, tmp_path: Path
) -> None:
    before = os.umask(0)
    try:
        store.save("default", credential())
    finally:
        os.umask(before)
    folder = tmp_path / "data" / "credentials"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()] == [0o600]


def test_a_file_that_was_opened_to_others_is_closed_again(
    store: CredentialStore, tmp_path: Path
) -> None:
    store.save("default", credential())
    file = tmp_path / "data" / "credentials" / "default.json"
    file.chmod(0o644)
    assert store.load("default", ORIGIN) is not None
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_where_says_the_file(store: CredentialStore, tmp_path: Path) -> None:
    assert store.where("default") is None
    store.save("default", credential())
    assert store.where("default") == f"file {tmp_path}/data/credentials/default.json"


def test_forgetting_removes_it(store: CredentialStore) -> None:
    assert store.forget("default") is False
    store.save("default", credential())
    assert store.forget("default") is True
    assert store.load("default", ORIGIN) is None
    assert store.profiles() == []


@pytest.mark.parametrize(
    "name", ["../escape", "a/b", ".", "..", "ü", "with space", "a.json", "%2F"]
)
def test_any_profile_name_stays_within_the_folder(
    store: CredentialStore, tmp_path: Path, name: str
) -> None:
    store.save(name, credential())
    assert store.profiles() == [name]
    assert store.load(name, ORIGIN) == credential()
    assert [place.name for place in tmp_path.iterdir()] == ["data"]
    assert len(list((tmp_path / "data" / "credentials").iterdir())) == 1


@pytest.mark.parametrize("name", ["", "x" * 300])
def test_a_name_that_no_file_can_have_is_refused(store: CredentialStore, name: str) -> None:
    with pytest.raises(BadConfiguration):
        store.save(name, credential())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"origin": 3}', b"\xff\xfe", b'{"a":1}'])
def test_a_damaged_file_is_said_to_be_one_and_can_be_replaced(
    store: CredentialStore, tmp_path: Path, content: bytes
) -> None:
    store.save("default", credential())
    (tmp_path / "data" / "credentials" / "default.json").write_bytes(content)
    with pytest.raises(BadConfiguration, match="damaged") as refusal:
        store.load("default", ORIGIN)
    assert "megabot login" in str(refusal.value.hint)
    assert store.where("default") is not None
    store.save("default", credential())
    assert store.load("default", ORIGIN) == credential()


def test_a_damaged_file_can_be_forgotten(store: CredentialStore, tmp_path: Path) -> None:
    store.save("default", credential())
    (tmp_path / "data" / "credentials" / "default.json").write_bytes(b"{")
    assert store.forget("default") is True


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = CredentialStore(tmp_path / "file" / "credentials", "file")
    with pytest.raises(BadConfiguration, match="cannot be kept"):
        store.save("default", credential())


@pytest.mark.parametrize(
    ("number", "helps"),
    [(errno.ENOSPC, "Make room"), (errno.EROFS, "read-only"), (errno.EACCES, "a mode")],
)
def test_a_disk_that_takes_nothing_is_told_with_what_helps(
    store: CredentialStore, monkeypatch: pytest.MonkeyPatch, number: int, helps: str
) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(BadConfiguration) as raised:
        store.save("default", credential())
    assert os.strerror(number) in str(raised.value)
    assert helps in str(raised.value.hint)


def test_a_reader_never_sees_half_a_file(store: CredentialStore, tmp_path: Path) -> None:
    """Many processes write while we read: each reading is one of theirs, whole."""
    program = textwrap.dedent(
        f"""
        from pathlib import Path
        from megabot_cli.client.credentials import Credential, CredentialStore
        import sys
        store = CredentialStore(Path({str(tmp_path / "data" / "credentials")!r}), "file")
        for number in range(40):
            store.save("default", Credential("jwt", sys.argv[1] * 5000, {ORIGIN!r}))
        """
    )
    store.save("default", credential("a" * 5000))
    writers = [subprocess.Popen([sys.executable, "-c", program, letter]) for letter in "ab"]
    seen = 0
    while any(writer.poll() is None for writer in writers):
        found = store.load("default", ORIGIN)
        assert found is not None
        assert len(found.secret) == 5000
        assert len(set(found.secret)) == 1
        seen += 1
    assert [writer.wait() for writer in writers] == [0, 0]
    assert seen
    assert [entry.name for entry in (tmp_path / "data" / "credentials").iterdir()] == [
        "default.json"
    ]


def test_the_lock_keeps_other_processes_out(store: CredentialStore, tmp_path: Path) -> None:
    program = textwrap.dedent(
        f"""
        from pathlib import Path
        from megabot_cli.client.credentials import CredentialStore
        store = CredentialStore(Path({str(tmp_path / "data" / "credentials")!r}), "file")
        print(store.lock("default").acquire(wait=False))
        """
    )
    command = [sys.executable, "-c", program]
    with store.locked("default"):
        inside = subprocess.run(command, capture_output=True, text=True, check=True)
    outside = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (inside.stdout.strip(), outside.stdout.strip()) == ("False", "True")


def test_a_process_that_dies_lets_go_of_the_lock(store: CredentialStore, tmp_path: Path) -> None:
    program = textwrap.dedent(
        f"""
        import os
        from pathlib import Path
        from megabot_cli.client.credentials import CredentialStore
        store = CredentialStore(Path({str(tmp_path / "data" / "credentials")!r}), "file")
        assert store.lock("default").acquire(wait=False)
        os.kill(os.getpid(), 9)
        """
    )
    died = subprocess.run([sys.executable, "-c", program], check=False)
    assert died.returncode == -9
    assert store.lock("default").acquire(wait=False)


# The keyring


def test_a_keyring_that_works_holds_the_secret_and_no_file_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install_keyring(monkeypatch, tmp_path)
    store = CredentialStore(tmp_path / "credentials")
    assert store.save("default", credential()) == "keyring"
    assert store.where("default") == "keyring"
    assert store.load("default", ORIGIN) == credential()
    assert store.profiles() == ["default"]
    assert SECRET not in (tmp_path / "credentials" / "default.json").read_text()


def test_forgetting_empties_the_keyring_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entries = install_keyring(monkeypatch, tmp_path)
    store = CredentialStore(tmp_path / "credentials")
    store.save("default", credential())
    assert SECRET in entries.read_text()
    assert store.forget("default") is True
    assert entries.read_text() == "{}"


def test_moving_to_the_file_empties_the_keyring(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entries = install_keyring(monkeypatch, tmp_path)
    CredentialStore(tmp_path / "credentials", "keyring").save("default", credential())
    store = CredentialStore(tmp_path / "credentials", "file")
    assert store.save("default", credential("another")) == "file"
    assert entries.read_text() == "{}"
    assert store.load("default", ORIGIN) == credential("another")


def test_two_folders_do_not_share_an_entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install_keyring(monkeypatch, tmp_path)
    one, two = CredentialStore(tmp_path / "one"), CredentialStore(tmp_path / "two")
    one.save("default", credential("first"))
    two.save("default", credential("second"))
    assert one.load("default", ORIGIN) == credential("first")
    assert two.load("default", ORIGIN) == credential("second")


@pytest.mark.parametrize(
    ("get", "set_"),
    [
        ("...", f"raise RuntimeError('no D-Bus, was storing {SECRET}')"),
        ("return None", "..."),
        ("time.sleep(30)", "..."),
        ("return 'something else'", "..."),
    ],
    ids=["raises", "stores nothing", "hangs", "gives another"],
)
def test_a_keyring_that_does_not_work_leaves_it_to_the_file_or_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, get: str, set_: str
) -> None:
    install_keyring(monkeypatch, tmp_path, get=get, set=set_)
    monkeypatch.setattr("megabot_cli.client.keyring_access.LIMIT_S", 0.2)
    store = CredentialStore(tmp_path / "credentials")
    assert store.save("default", credential()) == "file"
    assert store.load("default", ORIGIN) == credential()
    demanding = CredentialStore(tmp_path / "others", "keyring")
    with pytest.raises(BadConfiguration, match="keyring cannot be used") as refusal:
        demanding.save("default", credential())
    assert SECRET not in f"{refusal.value}{refusal.value.hint}"
    assert demanding.where("default") is None


def test_without_the_keyring_package_the_file_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)  # Python's way to say: not importable
    assert CredentialStore(tmp_path / "one").save("default", credential()) == "file"
    with pytest.raises(BadConfiguration, match="not installed"):
        CredentialStore(tmp_path / "two", "keyring").save("default", credential())


def test_a_keyring_that_went_away_is_said_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install_keyring(monkeypatch, tmp_path)
    store = CredentialStore(tmp_path / "credentials")
    store.save("default", credential())
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(BadConfiguration, match="cannot be read"):
        store.load("default", ORIGIN)
    with pytest.raises(BadConfiguration, match="still in the keyring"):
        store.forget("default")
    assert store.profiles() == ["default"]


# JWT


def token(claims: str) -> str:
    return f"e30.{base64.urlsafe_b64encode(claims.encode()).decode().rstrip('=')}.c2ln"


def test_the_expiry_of_a_jwt_is_read_without_its_key() -> None:
    assert jwt_expiry(token('{"sub":"ada","exp":1640995200}')) == 1640995200.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "an-api-key",
        "a.b",
        "a.b.c",
        "..",
        token("[]"),
        token("{}"),
        token('{"exp":"soon"}'),
        token('{"exp":true}'),
        token('{"exp":-1}'),
        token('{"exp":1e300}'),
        token("not json"),
    ],
)
def test_what_is_no_jwt_with_an_expiry_has_none(text: str) -> None:
    assert jwt_expiry(text) is None


@given(st.text())
def test_any_text_can_be_asked_for_its_expiry(text: str) -> None:
    jwt_expiry(text)
    jwt_expiry(f"a.{text}.b")
