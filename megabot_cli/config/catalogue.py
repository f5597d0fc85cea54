"""Every setting as a flat list: its place in the file, type, default, meaning, variable."""

from __future__ import annotations

import types
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from megabot_cli.config.schema import Origin, ProfileSettings, Settings

Path = tuple[str, ...]

PROFILE_PATH: Path = ("profiles", "*")


class Setting(msgspec.Struct, frozen=True):
    """One leaf of the configuration. A profile's have `profiles.*` in front."""

    path: Path
    type: Any
    default: Any
    description: str

    @property
    def name(self) -> str:
        """The path as it is written: `relay.outbox.messages`."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """The environment variable that sets it; those of a profile set the one in use."""
        if self.path == ("profile",):
            return "MEGABOT_PROFILE"
        path = self.path[2:] if self.path[:2] == PROFILE_PATH else self.path
        return "MEGABOT_" + "_".join(path).upper()

    @property
    def choices(self) -> tuple[str, ...]:
        """The words it may be, or none when it is free."""
        found = _inside(self.type)
        return get_args(found) if get_origin(found) is Literal else ()

    @property
    def is_list(self) -> bool:
        return get_origin(_inside(self.type)) is list

    @property
    def constraint(self) -> str:
        """What may stand there, in words: `a whole number, at least 1`."""
        if self.choices:
            return " or ".join(self.choices)
        if get_args(_inside(self.type)) == (Origin,):
            return "a list of origins, such as http://localhost:5173"
        return ", ".join([_KINDS[_plain(self.type)], *_bounds(self.type)])


_KINDS: dict[Any, str] = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list of texts",
}


@cache
def catalogue() -> tuple[Setting, ...]:
    """All settings, in the order of the schema."""
    return tuple(_leaves(Settings, ()))


@cache
def by_path() -> dict[Path, Setting]:
    return {each.path: each for each in catalogue()}


def profile_settings() -> tuple[Setting, ...]:
    return tuple(each for each in catalogue() if each.path[:2] == PROFILE_PATH)


def section_notes() -> dict[Path, str]:
    """What each section is about: the first line of its docstring, by its path."""
    return dict(_sections(Settings, ()))


def _leaves(section: type[msgspec.Struct], at: Path) -> Iterator[Setting]:
    for field in msgspec.structs.fields(section):
        path = (*at, field.name)
        if path == ("profiles",):
            yield from _leaves(ProfileSettings, PROFILE_PATH)
        elif is_section(field.type):
            yield from _leaves(field.type, path)
        else:
            yield Setting(path, field.type, _default(field), _description(field.type))


def _sections(section: type[msgspec.Struct], at: Path) -> Iterator[tuple[Path, str]]:
    yield at, (section.__doc__ or "").strip().splitlines()[0]
    for field in msgspec.structs.fields(section):
        if (*at, field.name) == ("profiles",):
            yield from _sections(ProfileSettings, PROFILE_PATH)
        elif is_section(field.type):
            yield from _sections(field.type, (*at, field.name))


def is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    factory: Any = field.default_factory
    return factory()


def _description(kind: Any) -> str:
    notes = [each.description for each in _metas(kind) if each.description]
    return notes[-1] if notes else ""


def _metas(kind: Any) -> Iterator[Meta]:
    """The notes on a type, outermost last; those inside `X | None` count."""
    if get_origin(kind) is Annotated:
        inner, *notes = get_args(kind)
        yield from _metas(inner)
        yield from (note for note in notes if isinstance(note, Meta))
    elif get_origin(kind) in (Union, types.UnionType):
        for each in get_args(kind):
            yield from _metas(each)


def _inside(kind: Any) -> Any:
    """The type itself, without its notes and without None."""
    if get_origin(kind) is Annotated:
        return _inside(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return _inside(next(each for each in get_args(kind) if each is not type(None)))
    return kind


def _plain(kind: Any) -> Any:
    inside = _inside(kind)
    return get_origin(inside) or inside


def _bounds(kind: Any) -> Iterator[str]:
    for note in _metas(kind):
        for word, bound in (
            ("more than", note.gt),
            ("at least", note.ge),
            ("less than", note.lt),
            ("at most", note.le),
        ):
            if bound is not None:
                yield f"{word} {bound:g}"
