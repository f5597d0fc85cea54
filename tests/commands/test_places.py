"""Where things are, with a home and without one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from megabot_cli.commands.places import find_places
from megabot_cli.commands.remembered import remember_url, remembered_urls
from megabot_cli.errors import BadConfiguration


def test_one_folder_holds_everything_when_it_is_named(tmp_path: Path) -> None:
    places = find_places({"MEGABOT_HOME": str(tmp_path)})
    found = (places.config_file, places.recordings, places.credentials, places.run, places.logins)
    assert all(each.is_relative_to(tmp_path) for each in found)
    assert not places.config_named


def test_a_named_file_outranks_the_home(tmp_path: Path) -> None:
    environ = {"MEGABOT_HOME": str(tmp_path), "MEGABOT_CONFIG": "/a.yaml"}
    assert find_places(environ).config_file == Path("/a.yaml")
    assert find_places(environ, Path("/b.yaml")).config_file == Path("/b.yaml")
    assert find_places(environ).config_named


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine on which `~` means nothing, as in a container with an unknown user."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_without_a_home_a_private_temporary_folder_serves(homeless: Path) -> None:
    places = find_places({})
    assert places.data.parent == homeless
    assert places.data.stat().st_mode & 0o777 == 0o700


def test_a_temporary_folder_that_others_can_enter_is_refused(homeless: Path) -> None:
    folder = find_places({}).data
    folder.chmod(0o755)
    with pytest.raises(BadConfiguration, match="not ours alone"):
        find_places({})


def test_a_login_s_address_is_remembered_until_it_is_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "logins.json"
    assert remembered_urls(file) == {}
    remember_url(file, "a", "ws://a/ws")
    remember_url(file, "b", "ws://b/ws")
    remember_url(file, "a", None)
    assert remembered_urls(file) == {"b": "ws://b/ws"}
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "[]", "no json", '{"a": 3}', "\xff"])
def test_a_damaged_memory_is_an_empty_one(tmp_path: Path, content: str) -> None:
    file = tmp_path / "logins.json"
    file.write_bytes(content.encode("latin-1"))
    assert remembered_urls(file) == {}
