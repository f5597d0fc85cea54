"""What a command knows of the world, and the layers it adds."""

from __future__ import annotations

from pathlib import Path

import pytest

from megabot_cli.commands.invocation import GlobalOptions, Invocation
from megabot_cli.config.load import Flag
from megabot_cli.errors import BadConfiguration, WrongUsage


def at(home: Path, **options: object) -> Invocation:
    given = GlobalOptions(**options)  # type: ignore[arg-type]
    return Invocation({"MEGABOT_HOME": str(home)}, given)


def test_flags_add_up(tmp_path: Path) -> None:
    invocation = at(tmp_path, url="ws://asked/ws")
    invocation.configure({"relay.listen": Flag("--listen", ":0"), "relay.mode": None})
    invocation.configure({"profiles.*.url": Flag("--gateway", "ws://made/ws")})
    assert invocation.configuration.settings.relay.listen == ":0"
    assert invocation.configuration.profile.url == "ws://made/ws"


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    assert at(tmp_path).configuration.profile_name == "default"
    with pytest.raises(BadConfiguration, match="no configuration file"):
        _ = at(tmp_path, config=tmp_path / "other.yaml").configuration


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadConfiguration, match="Could not read"):
        _ = at(tmp_path).configuration


def test_a_folder_named_as_the_file_is_told_without_the_systems_numbers(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration) as refused:
        _ = at(tmp_path, config=tmp_path).configuration
    assert refused.value.message == f"Could not read {tmp_path}: Is a directory"


def test_the_first_form_is_the_one_nobody_asked_for(tmp_path: Path) -> None:
    invocation = at(tmp_path)
    invocation.settle_output(("line", "json"), {})
    assert invocation.output == "line"
    with pytest.raises(WrongUsage, match="no output 'raw'"):
        at(tmp_path, output="raw").settle_output(("line", "json"), {})


@pytest.mark.parametrize(
    ("asked", "forms", "is_"),
    [
        ("text", ("line", "wide", "json"), "line"),
        ("table", ("text", "json"), "text"),
        ("table", ("text", "table"), "table"),
        ("jsonl", ("text", "json"), "json"),
        ("json", ("text", "jsonl"), "jsonl"),
    ],
)
def test_a_usual_form_is_the_one_that_comes_to_the_same(
    tmp_path: Path, asked: str, forms: tuple[str, ...], is_: str
) -> None:
    invocation = at(tmp_path, output=asked)
    invocation.settle_output(forms, {})
    assert invocation.output == is_
    assert (invocation.indent is None) == (asked == "jsonl")


def test_recordings_lie_where_the_settings_say(tmp_path: Path) -> None:
    assert at(tmp_path).recordings_folder == tmp_path / "recordings"
    (tmp_path / "config.yaml").write_text("recording:\n  folder: /elsewhere\n")
    assert at(tmp_path).recordings_folder == Path("/elsewhere")


def test_the_form_template_is_the_text_of_the_word_and_needs_it(tmp_path: Path) -> None:
    invocation = at(tmp_path, output="template")
    invocation.settle_output(("line", "json"), {"template": "{id}"})
    assert invocation.output == "line"
    with pytest.raises(WrongUsage, match="no text to fill"):
        invocation.settle_output(("line", "json"), {"template": None})
    with pytest.raises(WrongUsage, match="no output 'template'"):
        invocation.settle_output(("line", "json"), {})
