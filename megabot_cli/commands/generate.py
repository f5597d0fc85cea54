"""Write what is made from the code: man pages, completions, the schema, the example file.

`python -m megabot_cli.commands.generate [--check] [FOLDER]`; a test runs the check.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def generated_files() -> dict[str, str]:
    """Path below the project's folder → what stands in that file."""
    from megabot_cli.app import build
    from megabot_cli.commands.manual_pages import command_pages, config_page
    from megabot_cli.commands.metrics_page import metrics_page
    from megabot_cli.commands.outline import outline
    from megabot_cli.commands.reference_pages import environment_page, exit_codes_page
    from megabot_cli.commands.shells.scripts import FILE_NAMES, script_of
    from megabot_cli.config.documents import example_file, json_schema
    from megabot_cli.gateway.scenarios.documents import scenario_schema
    from megabot_cli.recording.format_schema import format_schema
    from megabot_cli.recording.index_schema import index_schema

    root = outline(build())
    files = {f"man/{name}": page for name, page in command_pages(root).items()}
    files["man/megabot-config.5"] = config_page()
    files["man/megabot-metrics.7"] = metrics_page()
    files["man/megabot-exit-codes.7"] = exit_codes_page()
    files["man/megabot-environment.7"] = environment_page()
    for shell, name in FILE_NAMES.items():
        files[f"completions/{name}"] = script_of(shell, root)
    files["config/schema.json"] = json_schema()
    files["config/scenarios.schema.json"] = scenario_schema()
    files["config/recording.schema.json"] = format_schema()
    files["config/index.schema.json"] = index_schema()
    files["config/megabot.example.yaml"] = example_file()
    return files


def stale_files(folder: Path) -> list[str]:
    """Which generated files below `folder` are not what the code says, or not there."""
    return [name for name, text in generated_files().items() if _read(folder / name) != text]


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def main(arguments: Sequence[str]) -> int:
    names = [each for each in arguments if each != "--check"]
    folder = Path(names[0]) if names else Path()
    if "--check" in arguments:
        stale = stale_files(folder)
        for name in stale:
            print(f"{name} is stale: run `make generate`", file=sys.stderr)
        return 1 if stale else 0
    for name, text in generated_files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
