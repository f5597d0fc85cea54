"""The scenario that `megabot gateway` names; and its rules in words (`--check-scenario`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from megabot_cli.errors import BadConfiguration, WrongUsage

if TYPE_CHECKING:
    from megabot_cli.commands.invocation import Invocation


def require_scenario(invocation: Invocation) -> None:
    """WrongUsage where a flag names a scenario that is not there. What stands in its file is
    read later: a fault there is none of the flag's."""
    named = invocation.configuration.settings.gateway.scenario
    if named is None:
        return
    from megabot_cli.gateway.scenarios.finding import find_scenario

    with invocation.blaming_flags("gateway", "scenario"):
        find_scenario(named)


def show_scenario(invocation: Invocation, named: str) -> None:
    """Print what a scenario would do. Raises BadConfiguration for one that is wrong."""
    from megabot_cli.gateway.scenarios.describing import described
    from megabot_cli.gateway.scenarios.finding import find_scenario, read_text
    from megabot_cli.gateway.scenarios.reading import read_scenario
    from megabot_cli.terminal.text import safe_line

    try:
        path = find_scenario(named)
    except BadConfiguration as fault:  # it was typed, just now
        raise WrongUsage(f"--check-scenario: {fault.message}", fault.hint) from None
    scenario = read_scenario(read_text(path), str(path))
    rules = described(scenario)
    console = invocation.console
    # JSON is the form of the ready line; a check is for a person unless one asks for it.
    if invocation.options.wants_json:
        content = {"file": str(path), "seed": scenario.seed, "rules": rules}
        console.json(content)
        return
    seed = "another at each start" if scenario.seed is None else scenario.seed
    console.line(f"{path}: good. Rules: {len(rules)}; seed: {seed}.")
    for rule in rules:
        console.line(safe_line(f"{rule['when']}: {rule['match']}  ({rule['name']})"))
        console.line(safe_line(f"    {rule['steps']}"))
