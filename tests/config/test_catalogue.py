"""Every setting is documented, and the documents say what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

import megabot_cli
from megabot_cli.config.catalogue import Setting, catalogue, section_notes
from megabot_cli.config.documents import example_file, json_schema
from megabot_cli.config.load import load
from megabot_cli.config.schema import ProfileSettings, Settings


def uncommented(text: str) -> str:
    """The example as it is when somebody removes every single `#` before a setting."""
    return re.sub(r"(?m)^(\s*)#(\w+:)", r"\1\2", text)


def test_every_setting_says_what_it_means_and_takes() -> None:
    for setting in catalogue():
        assert setting.description.endswith("."), setting.name
        assert setting.constraint, setting.name


def test_every_section_says_what_it_is_about() -> None:
    sections = {setting.path[:-1] for setting in catalogue()}
    assert sections <= section_notes().keys()


def test_a_setting_that_a_message_names_is_one() -> None:
    named = {
        name
        for path in Path(megabot_cli.__file__).parent.rglob("*.py")
        for name in re.findall(r"`((?:recording|relay|limits|gateway)\.[a-z_]+)`", path.read_text())
    }
    assert len(named) > 3
    assert named <= {setting.name for setting in catalogue()}


def test_no_two_settings_share_a_variable() -> None:
    variables = [setting.variable for setting in catalogue()]
    assert len(set(variables)) == len(variables)


@pytest.mark.parametrize("setting", catalogue(), ids=lambda setting: setting.name)
def test_every_setting_can_be_set_by_its_variable(setting: Setting) -> None:
    text = variable_text(setting)
    found = load("profiles:\n  x:\n    url: ws://x\n", environment={setting.variable: text})
    path = ("profiles", "default", *setting.path[2:]) if "*" in setting.path else setting.path
    assert found.source(*path).layer == "environment"


def variable_text(setting: Setting) -> str:
    if setting.name == "profile":
        return "x"
    if setting.default is None and "number" in setting.constraint:
        return "30"
    if "origins" in setting.constraint:
        return "http://page.example"
    if setting.default is None or setting.is_list:
        return "text"
    return (
        str(setting.default).lower() if isinstance(setting.default, bool) else str(setting.default)
    )


def test_the_example_sets_nothing_as_it_is() -> None:
    found = load(example_file())
    assert all(len(given) == 1 for path, given in found.history.items() if path != ("profile",))


def test_the_example_holds_every_setting_with_its_default() -> None:
    found = load(uncommented(example_file()))
    assert found.settings == Settings(profiles={"default": ProfileSettings()})
    set_by_file = {path for path, given in found.history.items() if len(given) > 1}
    assert len(set_by_file) == len(catalogue())


def test_the_example_fits_an_editor() -> None:
    assert max(len(line) for line in example_file().splitlines()) <= 100


def test_the_schema_names_every_setting_and_no_other() -> None:
    schema = json.loads(json_schema())
    named = set(properties(schema, schema["$defs"]["Settings"], ()))
    assert named == {setting.path for setting in catalogue()}


def properties(schema: dict[str, Any], section: dict[str, Any], at: tuple[str, ...]) -> Any:
    """The paths of all leaves; no section lets a misspelt key pass."""
    assert section["additionalProperties"] is False
    for name, value in section["properties"].items():
        inner = value
        path = (*at, name)
        if name == "profiles":
            path, inner = (*path, "*"), value["additionalProperties"]
        if "anyOf" in inner and "$ref" in inner["anyOf"][0]:
            reference = inner["anyOf"][0]["$ref"].rpartition("/")[2]
            yield from properties(schema, schema["$defs"][reference], path)
        else:
            yield path


def test_the_defaults_are_values_of_their_own_type() -> None:
    for setting in catalogue():
        assert msgspec.convert(setting.default, setting.type) == setting.default, setting.name
