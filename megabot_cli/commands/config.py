"""Show the settings in force, where each comes from, and where files are.

Later layers win: defaults, config.yaml, the profile, MEGABOT_* variables, flags.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.tree import examples, forms
from megabot_cli.commands.values import SettingPrefix
from megabot_cli.errors import NotFound

if TYPE_CHECKING:
    from megabot_cli.config.load import Configuration

EXAMPLES = (
    ("megabot config init", "Begin: write a file with every setting explained"),
    ("megabot config explain relay.listen", "One setting: its value, and where it comes from"),
    ("megabot config check", "All that is wrong, each with its line"),
)

_PASSWORD_IN_URL = re.compile(r"(?<=://)[^/@\s]*@")


@forms("text", "json")
@examples(
    ("megabot config show", "Everything, with the layer each value comes from"),
    ("megabot config show relay", "One section"),
    ("MEGABOT_URL=ws://127.0.0.1:4000/ws megabot config show profiles", "Who wins, and why"),
)
def show(
    context: typer.Context,
    prefix: Annotated[
        str,
        typer.Argument(
            metavar="[SETTING]",
            parser=SettingPrefix(),
            help="A setting, or the beginning of its name.",
        ),
    ] = "",
) -> None:
    """Show each setting and its source.

    The source is a layer (default, login, file, profile, chosen, environment, flag) and the place
    in it.
    """
    invocation: Invocation = context.obj
    configuration = (
        invocation.look_at_configuration() if prefix == "profile" else invocation.configuration
    )
    rows = list(_rows(configuration, prefix))
    if not rows:
        from megabot_cli.config.spelling import did_you_mean

        known = {".".join(path[:depth]) for path in configuration.history for depth in (1, 2, 3, 4)}
        hint = did_you_mean(prefix, known) or "`megabot config show` lists all settings."
        raise NotFound(f"There is no setting {prefix!r}", hint)
    if invocation.output == "json":
        invocation.console.json(
            _as_facts(invocation, configuration, rows), indent=invocation.indent
        )
    else:
        _print(invocation, configuration, rows)


def _rows(configuration: Configuration, prefix: str) -> Any:
    """Name, value and source of each setting that `prefix` means."""
    for path, given in sorted(configuration.history.items()):
        name = ".".join(path)
        if name == prefix or not prefix or name.startswith(f"{prefix}."):
            yield name, without_secrets(given[-1].value), given[-1].source


def without_secrets(value: Any) -> Any:
    """A value to be shown. No setting holds a secret; an address that is refused for it may."""
    if not isinstance(value, str) or "://" not in value:
        return value
    from megabot_cli.recording.redaction import Redactor
    from megabot_cli.recording.secret_shapes import PSEUDONYM

    shown = _PASSWORD_IN_URL.sub("‹redacted›@", value)
    return PSEUDONYM.sub("‹redacted›", Redactor(b"-").redact_query(shown))


def _as_facts(
    invocation: Invocation, configuration: Configuration, rows: list[Any]
) -> dict[str, Any]:
    path = invocation.places.config_file
    return {
        "file": str(path) if path.exists() else None,
        "profile": configuration.profile_name,
        "settings": {
            name: {"value": value, "source": source.layer, "place": source.place or None}
            for name, value, source in rows
        },
    }


def _print(invocation: Invocation, configuration: Configuration, rows: list[Any]) -> None:
    from megabot_cli.terminal.views import print_table

    path = invocation.places.config_file
    invocation.console.detail(f"file: {path}{'' if path.exists() else ' (not there)'}")
    table = [
        (name, json.dumps(value, ensure_ascii=False), str(source)) for name, value, source in rows
    ]
    print_table(invocation.console, ("setting", "value", "source"), table)
    for remark in configuration.remarks:
        invocation.console.warn(remark)


@forms("text", "json")
@examples(("$EDITOR $(megabot config path --json | jq -r .config)", "Edit the settings"))
def path(context: typer.Context) -> None:
    """Print where things are: the configuration file and the folders of data and state."""
    invocation: Invocation = context.obj
    places = invocation.places
    found = {
        "config": places.config_file,
        "data": places.data,
        "recordings": places.recordings,
        "credentials": places.credentials,
        "state": places.state,
    }
    if invocation.output == "json":
        invocation.console.json({name: str(each) for name, each in found.items()})
        return
    from megabot_cli.terminal.views import print_facts

    print_facts(invocation.console, [(name, str(each)) for name, each in found.items()])


@forms("json")
@examples(("megabot config schema > schema.json", "For an editor that completes settings"))
def schema(context: typer.Context) -> None:
    """Print the JSON Schema of config.yaml."""
    from megabot_cli.config.documents import json_schema

    invocation: Invocation = context.obj
    invocation.console.stream(json_schema())
