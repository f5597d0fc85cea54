"""`megabot config explain`: one setting, where its value comes from, and what that hides."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from megabot_cli.commands.config import without_secrets
from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.tree import examples, forms
from megabot_cli.commands.values import SettingName
from megabot_cli.errors import NotFound

if TYPE_CHECKING:
    from megabot_cli.config.catalogue import Path, Setting
    from megabot_cli.config.load import Configuration


@forms("text", "json")
@examples(
    ("megabot config explain url", "Of the profile in force: `profiles.NAME.url`"),
    ("megabot config explain relay.listen", "Value, source, what it hides, how to set it"),
)
def explain(
    context: typer.Context,
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY",
            parser=SettingName(),
            help="A setting; of a profile its last part will do.",
        ),
    ],
) -> None:
    """Say all about one setting.

    Its value and where that comes from, the values of lower layers that it hides, what it is
    for, what it takes, and every way to set it.
    """
    invocation: Invocation = context.obj
    configuration = (
        invocation.look_at_configuration() if key == "profile" else invocation.configuration
    )
    setting, path = _find(configuration, key)
    facts = _facts(configuration, setting, path)
    if invocation.output == "json":
        invocation.console.json(facts, indent=invocation.indent)
    else:
        _print(invocation, facts)


def _find(configuration: Configuration, key: str) -> tuple[Setting, Path]:
    """The setting that is meant, and its place in the configuration in force."""
    from megabot_cli.config.catalogue import PROFILE_PATH, catalogue
    from megabot_cli.config.spelling import did_you_mean

    name = configuration.profile_name
    wanted = key.replace("profiles.*.", f"profiles.{name}.").replace(
        "profiles.NAME.", f"profiles.{name}."
    )
    known: dict[str, tuple[Setting, Path]] = {}
    for setting in catalogue():
        if setting.path[:2] == PROFILE_PATH:
            rest = setting.path[2:]
            for profile in configuration.settings.profiles:
                path = ("profiles", profile, *rest)
                known[".".join(path)] = (setting, path)
            known[".".join(rest)] = (setting, ("profiles", name, *rest))
        else:
            known[setting.name] = (setting, setting.path)
    if wanted in known:
        return known[wanted]
    below = [each for each in known if each.startswith(f"{wanted}.")]
    if below:
        hint = f"It has: {', '.join(below[:4])}, …: `megabot config show {wanted}` lists them."
        raise NotFound(f"{key} is a section, not a setting", hint)
    _require_profile(configuration, wanted)
    hint = did_you_mean(key, known) or "`megabot config show` lists all settings."
    raise NotFound(f"There is no setting {key!r}", hint)


def _require_profile(configuration: Configuration, wanted: str) -> None:
    """NotFound when a setting of a profile is wanted, and it is the profile that is not there."""
    from megabot_cli.config.spelling import did_you_mean

    section, *rest = wanted.split(".")
    profiles = sorted(configuration.settings.profiles)
    if section != "profiles" or not rest or rest[0] in profiles:
        return
    raise NotFound(
        f"There is no profile {rest[0]!r}",
        did_you_mean(rest[0], profiles) or f"Known: {', '.join(profiles)}.",
    )


def _facts(configuration: Configuration, setting: Setting, path: Path) -> dict[str, Any]:
    from megabot_cli.commands.setting_flags import flags_of

    *hidden, last = configuration.history[path]
    return {
        "setting": ".".join(path),
        "value": without_secrets(last.value),
        "source": last.source.layer,
        "place": last.source.place or None,
        "hides": [
            {
                "value": without_secrets(each.value),
                "source": each.source.layer,
                "place": each.source.place or None,
            }
            for each in reversed(hidden)
        ],
        "description": setting.description,
        "takes": setting.constraint,
        "default": setting.default,
        "variable": setting.variable,
        "flags": flags_of(setting.name),
    }


def _print(invocation: Invocation, facts: dict[str, Any]) -> None:
    from megabot_cli.terminal.views import print_facts

    def shown(each: dict[str, Any]) -> str:
        place = f" {each['place']}" if each["place"] else ""
        return f"{_text(each['value'])}  ({each['source']}{place})"

    rows = [("setting", facts["setting"]), ("value", shown(facts))]
    rows += [("hides", shown(each)) for each in facts["hides"]]
    rows += [
        ("for", facts["description"]),
        ("takes", facts["takes"]),
        ("default", _text(facts["default"])),
        ("variable", facts["variable"]),
    ]
    rows += [("flag", each) for each in facts["flags"]]
    print_facts(invocation.console, rows)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
