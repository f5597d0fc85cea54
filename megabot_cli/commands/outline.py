"""The command tree as plain facts, for the man pages and the completions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from megabot_cli.commands.global_options import global_options
from megabot_cli.commands.numbers_left_out import number_when_left_out
from megabot_cli.commands.tree import Command, CommandWithChildren, Example, Group

Completes = Literal["file", "folder", "recording", "profile", "session", "nothing"]

# What the word for a value says of where its values lie.
_KEPT: dict[str, Completes] = {
    "RECORDING": "recording",
    "FOLDER|RECORDING": "recording",
    "SOURCE": "recording",
    "SOURCES": "recording",
    "FIRST": "recording",
    "SECOND": "recording",
    "FILE|NAME": "file",
    "PROFILE": "profile",
}


@dataclass(frozen=True)
class Option:
    """One option: its names, what it takes (None: nothing), and what it is for."""

    names: tuple[str, ...]
    takes: str | None
    help: str
    choices: tuple[str, ...] = ()
    completes: Completes = "nothing"
    repeats: bool = False
    may_stand_alone: bool = False  # what it takes it has only in its word, or where it is a number


@dataclass(frozen=True)
class Argument:
    """One word after the options."""

    name: str
    help: str
    choices: tuple[str, ...] = ()
    completes: Completes = "nothing"
    repeats: bool = False


@dataclass(frozen=True)
class Outline:
    """One command or group of them; `path` is what one types, `about` the long help."""

    path: tuple[str, ...]
    line: str
    about: str
    usage: str
    options: tuple[Option, ...] = ()
    arguments: tuple[Argument, ...] = ()
    examples: tuple[Example, ...] = ()
    forms: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    children: tuple[Outline, ...] = field(default=())

    @property
    def dashed(self) -> str:
        return "-".join(self.path)

    def walk(self) -> Iterator[Outline]:
        """This one, then all below it, in the order of `--help`."""
        yield self
        for child in self.children:
            yield from child.walk()


def outline(root: Group) -> Outline:
    """Import every command and write down what it takes."""
    with root.make_context("megabot", [], resilient_parsing=True) as context:
        return _group(root, context, ("megabot",), root.help or "", ())


def everywhere() -> tuple[Option, ...]:
    """The options that every command takes."""
    help_option = Option(("-h", "--help"), None, "Show help and stop.")
    return (*(_option(each) for each in global_options()), help_option)


def _group(
    group: Group, context: Any, path: tuple[str, ...], line: str, aliases: tuple[str, ...]
) -> Outline:
    children = []
    for entry in group.entries:
        command = group.get_command(context, entry.name)
        below = command.make_context(entry.name, [], parent=context, resilient_parsing=True)
        at = (*path, entry.name)
        if isinstance(command, CommandWithChildren):
            own = _command(command.own, below, at, entry.help, entry.aliases)
            with command.make_context(
                entry.name, [entry.children[0].name], parent=context, resilient_parsing=True
            ) as inside:
                nested = _group(command, inside, at, entry.help, entry.aliases)
            children.append(replace(own, children=nested.children))
        elif isinstance(command, Group):
            children.append(_group(command, below, at, entry.help, entry.aliases))
        else:
            children.append(_command(command, below, at, entry.help, entry.aliases))
    return Outline(
        path,
        line,
        _text(group.help),
        _usage(context),
        examples=group.examples,
        children=tuple(children),
        aliases=aliases,
    )


def _command(
    command: Command, context: Any, path: tuple[str, ...], line: str, aliases: tuple[str, ...]
) -> Outline:
    params = [param for param in command.own_params if not getattr(param, "hidden", False)]
    return Outline(
        path=path,
        line=line,
        about=_text(command.help),
        usage=_usage(context),
        options=tuple(_option(each) for each in params if each.param_type_name == "option"),
        arguments=tuple(_argument(each) for each in params if each.param_type_name == "argument"),
        examples=command.examples,
        forms=command.forms,
        aliases=aliases,
    )


def _option(param: Any) -> Option:
    takes_value = not (param.is_flag or param.count)
    choices = _choices(param)
    takes = param.metavar or ("|".join(choices) if choices else param.type.name.upper())
    return Option(
        names=(*param.opts, *param.secondary_opts),
        takes=takes if takes_value else None,
        help=_with_default(param),
        choices=choices,
        completes=_completes(param),
        repeats=bool(param.multiple),
        may_stand_alone=number_when_left_out(param) is not None,
    )


def _with_default(param: Any) -> str:
    text: str = param.help or ""
    said = isinstance(param.default, str | int | float) and not isinstance(param.default, bool)
    if said and param.show_default and param.default != "" and not param.count:
        return f"{text}  [default: {param.default}]"
    return text


def _argument(param: Any) -> Argument:
    name = (param.metavar or param.name).strip("[].").upper()
    choices = _choices(param)
    return Argument(name, param.help or "", choices, _completes(param), repeats=param.nargs == -1)


def _choices(param: Any) -> tuple[str, ...]:
    """What is offered: all there is, or what a parser of ours says is mostly meant."""
    source = param.type if hasattr(param.type, "choices") else getattr(param.type, "func", None)
    return tuple(getattr(source, "choices", ()))


def _completes(param: Any) -> Completes:
    if "--session" in param.opts or hasattr(getattr(param.type, "func", None), "is_session"):
        return "session"
    meant = _KEPT.get((param.metavar or "").strip("[]."))
    if meant is not None:
        return meant
    if param.type.name not in ("path", "file", "directory"):
        return "nothing"
    return "folder" if param.type.name == "directory" else "file"


def _usage(context: Any) -> str:
    pieces = context.command.collect_usage_pieces(context)
    return " ".join([context.command_path, *pieces])


def _text(docstring: str | None) -> str:
    import inspect

    return inspect.cleandoc(docstring or "")
