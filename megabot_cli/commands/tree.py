"""The command tree as Typer sees it: names and help from a table, bodies imported when called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from megabot_cli.commands.front_page import front_page, has_room_beside, page_width
from megabot_cli.commands.global_options import global_options
from megabot_cli.commands.numbers_left_out import with_numbers_left_out
from megabot_cli.commands.table import Entry

Body = TypeVar("Body", bound=Callable[..., Any])

# For `takes_no_more`: a pattern of the shell's often stands for several.
ONE_RECORDING = "It takes one; `megabot recordings merge A B both.jsonl` makes one of several."

CONTEXT = {"help_option_names": ["-h", "--help"]}
_WIDEST_NAME = 30  # from here on Typer puts the meaning below


@dataclass(frozen=True)
class Example:
    """A line one would type, and what it is for."""

    line: str
    purpose: str


def examples(*pairs: tuple[str, str]) -> Callable[[Body], Body]:
    """Give a command its examples: pairs of (line, purpose) for help and man page."""

    def attach(body: Body) -> Body:
        body.examples = tuple(Example(*pair) for pair in pairs)  # type: ignore[attr-defined]
        return body

    return attach


def forms(*names: str) -> Callable[[Body], Body]:
    """Say which forms of output (`-o`) a command has; the first is the one without `-o`."""

    def attach(body: Body) -> Body:
        body.forms = names  # type: ignore[attr-defined]
        return body

    return attach


def takes_no_more(hint: str) -> Callable[[Body], Body]:
    """Say what to type where somebody gives a command more words than it takes."""

    def attach(body: Body) -> Body:
        body.takes_no_more = hint  # type: ignore[attr-defined]
        return body

    return attach


class Command(TyperCommand):
    """A command that takes the global options too, and shows its forms and examples."""

    examples: tuple[Example, ...] = ()
    forms: tuple[str, ...] = ()
    takes_no_more: str | None = None
    children: tuple[Entry, ...] = ()  # commands below this one

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.own_params = list(self.params)
        taken = {name for param in self.own_params for name in param.opts}
        self.params.extend(option for option in global_options() if taken.isdisjoint(option.opts))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The parser does not say whose option lacks its value: the hint is to name the command."""
        args = with_numbers_left_out(self.params, args)
        try:
            if self.children and not ctx.resilient_parsing:
                self._refuse_strays(ctx, args)
            rest: list[str] = super().parse_args(ctx, args)
        except typer.TyperException as fault:
            if getattr(fault, "ctx", self) is None:
                fault.ctx = ctx  # type: ignore[attr-defined]
            raise
        return rest

    def _refuse_strays(self, ctx: Any, args: list[str]) -> None:
        """A word before `--` was meant as a command below this one: it must start nothing."""
        before = args[: args.index("--")] if "--" in args else args
        values, strays, _ = self.make_parser(ctx).parse_args(args=list(before))
        arguments = [each for each in self.own_params if each.param_type_name == "argument"]
        for argument in arguments:
            given = values.get(str(argument.name))
            strays = [*(given if isinstance(given, list | tuple) else ()), *strays]
        if not strays:
            return
        below = [name for entry in self.children for name in (entry.name, *entry.aliases)]
        if strays[0] in below:
            ctx.fail(f"{strays[0]!r} stands before all options: `{ctx.command_path} {strays[0]}`.")
        meant = _meant_by(strays[0], below, self.name)
        if arguments and not meant:
            ctx.fail(f"{strays[0]!r} is no command of ours; what is to be run stands after `--`.")
        ctx.fail(_no_command(strays[0], meant))

    def invoke(self, ctx: Any) -> Any:
        ctx.obj.settle_output(self.forms, ctx.params)
        return super().invoke(ctx)

    def get_help(self, ctx: Any) -> str:
        ctx.terminal_width = _page_width()
        text: str = super().get_help(ctx)
        return text

    def format_options(self, ctx: Any, formatter: Any) -> None:
        rows: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for param in self.own_params:
            row = param.get_help_record(ctx)
            if row is not None:
                rows[param.param_type_name].append(row)
        for kind, lines in rows.items():
            if lines:
                with formatter.section(f"{kind.title()}s"):
                    _write_rows(formatter, lines)
        if self.children:
            with formatter.section("Commands below it"):
                formatter.write_dl([(entry.name, entry.help) for entry in self.children])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        _write_examples(formatter, self.examples)
        if len(self.forms) > 1:
            with formatter.section("Forms of output (-o)"):
                formatter.write_text(", ".join(self.forms))
        write_everywhere(formatter)


def _meant_by(word: str, known: Iterable[str], below: str | None) -> str:
    """What may be meant; empty: nobody can tell. `below` names the command it was typed after."""
    from megabot_cli.commands.other_names import line_for

    line = line_for(word, below)
    if line is not None:
        return f"`{line}`"
    return " or ".join(repr(name) for name in get_close_matches(word, known, n=3))


def _no_command(word: str, meant: str) -> str:
    return f"There is no command {word!r}." + (f" Did you mean {meant}?" if meant else "")


def _page_width() -> int:
    """Typer would not go below fifty columns, and a terminal that has fewer breaks words."""
    import shutil

    return page_width(shutil.get_terminal_size().columns)


def _write_rows(formatter: Any, rows: Sequence[tuple[str, str]]) -> None:
    """Names with what they mean, beside them or, where that is narrow, below."""
    widest = max(min(len(name), _WIDEST_NAME) for name, _ in rows)
    if has_room_beside(widest + 4, formatter.width):
        formatter.write_dl(rows)
        return
    for name, meaning in rows:
        formatter.write_text(name)
        with formatter.indentation(), formatter.indentation():
            formatter.write_text(meaning)


def _write_examples(formatter: Any, shown: Sequence[Example]) -> None:
    if shown:
        with formatter.section("Examples"):
            for example in shown:
                formatter.write(f"  # {example.purpose}\n  {example.line}\n")


def write_everywhere(formatter: Any) -> None:
    """The global options in short; `megabot --help` explains them."""
    names = " ".join("/".join(option.opts) for option in global_options())
    with formatter.section("Everywhere (see megabot --help)"):
        formatter.write_text(f"{names} -h/--help")


class Group(TyperGroup):
    """Commands from a table of entries. Listing them imports none of them."""

    examples: tuple[Example, ...] = ()

    def __init__(self, entries: tuple[Entry, ...], **settings: Any) -> None:
        super().__init__(params=list(global_options()), context_settings=CONTEXT, **settings)
        self.entries = entries
        self._loaded: dict[str, Any] = {}
        self._by_name = {name: entry for entry in entries for name in (entry.name, *entry.aliases)}

    def get_help(self, ctx: Any) -> str:
        ctx.terminal_width = _page_width()
        text: str = super().get_help(ctx)
        return text

    def list_commands(self, ctx: Any) -> list[str]:
        return [entry.name for entry in self.entries]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = self._by_name.get(cmd_name)
        if entry is None:
            return None
        if entry.name not in self._loaded:
            self._loaded[entry.name] = load_entry(entry)
        return self._loaded[entry.name]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """With nothing after it, a group shows its help."""
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help())
            ctx.exit()
        rest: list[str] = super().parse_args(ctx, args)
        return rest

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self._by_name and not args[0].startswith("-"):
            ctx.fail(_no_command(args[0], _meant_by(args[0], self._by_name, self.name)))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        headings: dict[str, list[tuple[str, str]]] = {}
        for entry in self.entries:
            headings.setdefault(entry.heading, []).append((entry.name, entry.help))
        widest = max(len(entry.name) for entry in self.entries)
        for heading, rows in headings.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(widest), line) for name, line in rows])

    def format_options(self, ctx: Any, formatter: Any) -> None:
        self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        _write_examples(formatter, self.examples)
        write_everywhere(formatter)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Of the whole program: what `megabot --help` by itself shows without Typer."""
        if ctx.parent is None:
            formatter.write(front_page(formatter.width))
        else:
            super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Typer's own completion starts Python for each TAB; ours is static."""
        return []


class CommandWithChildren(Group):
    """A command of its own, `own`, that also has commands below it: `relay` and `relay status`.

    What is not the name of a child after the global options is for the command itself.
    """

    def __init__(self, own: Command, entries: tuple[Entry, ...], **settings: Any) -> None:
        super().__init__(entries, **settings)
        self.own = own
        own.children = entries

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        if _first_word(args) in self._by_name:
            return super().make_context(info_name, args, parent, **extra)
        return self.own.make_context(info_name, args, parent, **extra)


def _first_word(args: list[str]) -> str | None:
    """The first argument that is neither a global option nor the value of one."""
    takes_value = {
        name: not (option.is_flag or option.count)
        for option in global_options()
        for name in option.opts
    }
    rest = iter(args)
    for word in rest:
        if word not in takes_value:
            return word
        if takes_value[word]:
            next(rest, None)
    return None


def load_entry(entry: Entry) -> Any:
    """Import a command's body and make it a command."""
    module_name, _, function_name = entry.body.partition(":")
    module = import_module(module_name)
    if entry.children and function_name:
        own = _load_body(entry, getattr(module, function_name))
        return CommandWithChildren(
            own, entry.children, name=entry.name, help=own.help, rich_markup_mode=None
        )
    if entry.children:
        group = Group(
            entry.children,
            name=entry.name,
            help=module.__doc__,
            short_help=entry.help,
            rich_markup_mode=None,
        )
        group.examples = tuple(Example(*pair) for pair in module.EXAMPLES)
        return group
    return _load_body(entry, getattr(module, function_name))


def _load_body(entry: Entry, body: Any) -> Any:
    program = typer.Typer(
        add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
    )
    program.command(entry.name, cls=Command, context_settings=CONTEXT)(body)
    command = typer.main.get_command(program)
    if isinstance(command, Command):
        command.examples = getattr(body, "examples", ())
        command.forms = getattr(body, "forms", ("text",))
        command.takes_no_more = getattr(body, "takes_no_more", None)
    return command
