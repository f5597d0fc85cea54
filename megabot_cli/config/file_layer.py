"""What a configuration file says, checked key by key, each value with the line it is on."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from megabot_cli.config.catalogue import PROFILE_PATH, Path, Setting, by_path, is_section
from megabot_cli.config.schema import ProfileSettings, Settings
from megabot_cli.config.spelling import did_you_mean
from megabot_cli.errors import BadConfiguration, MegabotError

_Fault = TypeVar("_Fault", bound=MegabotError)


class FileValue(msgspec.Struct, frozen=True):
    """One setting of the file. `place` is `config.yaml:12`."""

    path: Path
    value: Any
    place: str


class FileLayer(msgspec.Struct, frozen=True):
    """All a file sets, and the profiles it names (one may set nothing)."""

    values: tuple[FileValue, ...] = ()
    profiles: tuple[str, ...] = ()


def read_file_layer(text: str | None, file: str) -> FileLayer:
    """Check the text of a file. BadConfiguration names the first wrong key and its line."""
    layer, problems = read_liberally(text, file)
    if problems:
        raise problems[0]
    return layer


def read_liberally(text: str | None, file: str) -> tuple[FileLayer, list[BadConfiguration]]:
    """What the file sets as far as that can be read, and all that is wrong with the rest."""
    if text is None or not text.strip():
        return FileLayer(), []
    from megabot_cli.config.yaml_text import parse_liberally  # costs as much as all else here

    try:
        tree, lines, repeated = parse_liberally(text, file)
    except BadConfiguration as fault:
        return FileLayer(), [fault]
    checker = _Checker(lines, file)
    values = tuple(checker.section(tree, Settings, ()))
    profiles = tree.get("profiles")
    names = tuple(str(each) for each in profiles) if isinstance(profiles, dict) else ()
    return FileLayer(values, names), in_order([*repeated, *checker.problems], file)


def in_order(problems: Iterable[_Fault], file: str) -> list[_Fault]:
    """What is wrong in the order of the file's lines; behind it what is wrong elsewhere."""
    place = re.compile(re.escape(file) + r"(?::(\d+))?(?::\d+)?: ")

    def line(problem: _Fault) -> float:
        found = place.match(problem.message)
        return math.inf if found is None else int(found[1] or 0)

    return sorted(problems, key=line)


class _Checker:
    """Goes through a file; what is wrong is kept in `problems` and left out."""

    def __init__(self, lines: Mapping[Path, int], file: str) -> None:
        self._lines = lines
        self._file = file
        self.problems: list[BadConfiguration] = []

    def section(self, tree: Any, section: type[msgspec.Struct], at: Path) -> Iterator[FileValue]:
        """The values of one section, of all sections inside it too."""
        fields = {field.name: field.type for field in msgspec.structs.fields(section)}
        for key, value in self._mapping(tree, at).items():
            path = (*at, str(key))
            if key not in fields:
                self.problems.append(self._unknown(path, list(fields)))
            elif path == ("profiles",):
                yield from self._profiles(value)
            elif is_section(fields[key]):
                yield from self.section(value, fields[key], path)
            else:
                yield from self._value(path, value)

    def _profiles(self, tree: Any) -> Iterator[FileValue]:
        for name, profile in self._mapping(tree, ("profiles",)).items():
            path = ("profiles", str(name))
            if isinstance(name, str):
                yield from self.section(profile, ProfileSettings, path)
                continue
            self._object(
                f"{self._place(path)}: the profile's name {name!r} is no text",
                f'Put it in quotes: "{name}".',
            )

    def _mapping(self, tree: Any, path: Path) -> dict[Any, Any]:
        """A section. One without anything under it is null in YAML, and empty to us."""
        if tree is None:
            return {}
        if isinstance(tree, dict):
            return tree
        self._object(
            f"{self._place(path)}: {'.'.join(path)} is {tree!r}, where a section belongs",
            "Put its settings on the lines below, indented.",
        )
        return {}

    def _value(self, path: Path, value: Any) -> Iterator[FileValue]:
        place = self._place(path)
        try:
            found = convert(setting_at(path), f"{place}: {'.'.join(path)}", value)
        except BadConfiguration as fault:
            self.problems.append(fault)
        else:
            yield FileValue(path, found, place)

    def _object(self, message: str, hint: str) -> None:
        self.problems.append(BadConfiguration(message, hint))

    def _unknown(self, path: Path, known: list[str]) -> BadConfiguration:
        return BadConfiguration(
            f"{self._place(path)}: there is no setting {'.'.join(path)!r}",
            did_you_mean(path[-1], known) or "`megabot config show` lists all settings.",
        )

    def _place(self, path: Path) -> str:
        """The line of the nearest key that has one."""
        while path and path not in self._lines:
            path = path[:-1]
        return f"{self._file}:{self._lines[path]}" if path else self._file


def setting_at(path: Path) -> Setting:
    """The setting a path of the file means, whichever profile it is in."""
    return by_path()[(*PROFILE_PATH, *path[2:]) if path[0] == "profiles" else path]


def convert(setting: Setting, named: str, value: Any, *, from_text: bool = False) -> Any:
    """`value` as the setting's type. BadConfiguration says that `named` cannot be that."""
    if from_text and setting.is_list:
        value = [part.strip() for part in value.split(",") if part.strip()]

    def as_it_should_be(value: Any) -> Any:
        return msgspec.convert(value, setting.type, strict=not from_text)

    try:
        return as_it_should_be(value)
    except msgspec.ValidationError:
        if isinstance(value, list):
            value = next((each for each in value if not _is_good([each], as_it_should_be)), value)
        meant = did_you_mean(value, setting.choices) if isinstance(value, str) else None
        raise BadConfiguration(
            f"{named} cannot be {value!r}", meant or f"It takes {setting.constraint}."
        ) from None


def _is_good(value: Any, convert: Callable[[Any], Any]) -> bool:
    try:
        convert(value)
    except msgspec.ValidationError:
        return False
    return True
