"""Completion for PowerShell."""

from __future__ import annotations

import json

from megabot_cli.commands.outline import Outline
from megabot_cli.commands.shells.words import NOTE, all_options

_POWERSHELL_FRAME = """# {note}
# Load with: . ./megabot.ps1

$script:MegabotCommands = @'
{table}
'@ | ConvertFrom-Json

Register-ArgumentCompleter -Native -CommandName megabot -ScriptBlock {{
    param($wordToComplete, $commandAst, $cursorPosition)
    $path = 'megabot'
    $previous = ''
    foreach ($element in $commandAst.CommandElements | Select-Object -Skip 1) {{
        if ($element.Extent.EndOffset -ge $cursorPosition) {{ break }}
        $word = $element.Extent.Text
        $entry = $script:MegabotCommands.$path
        if (-not $entry.values.$previous) {{
            $below = $entry.commands | Where-Object {{ $_.name -eq $word }}
            if ($below) {{ $path = $below.path }}
        }}
        $previous = $word
    }}
    $entry = $script:MegabotCommands.$path
    $found = if ($entry.values.$previous) {{
        $entry.values.$previous | Where-Object {{ $_ -ne '' }} |
            ForEach-Object {{ @{{ name = $_; help = $_ }} }}
    }} elseif ($wordToComplete -like '-*') {{ $entry.options }} else {{ $entry.commands }}
    $found | Where-Object {{ $_.name -like "$wordToComplete*" }} | ForEach-Object {{
        [System.Management.Automation.CompletionResult]::new(
            $_.name, $_.name, 'ParameterValue', $_.help)
    }}
}}
"""


def powershell_script(root: Outline) -> str:
    table = {" ".join(each.path): _powershell_entry(each) for each in root.walk()}
    text = json.dumps(table, indent=1, ensure_ascii=True).replace("'@", "' @")
    return _POWERSHELL_FRAME.format(note=NOTE, table=text)


def _powershell_entry(command: Outline) -> dict[str, object]:
    options = all_options(command)
    return {
        "commands": [
            {"name": name, "path": " ".join(child.path), "help": child.line}
            for child in command.children
            for name in (child.path[-1], *child.aliases)
        ],
        "options": [{"name": n, "help": o.help or n} for o in options for n in o.names],
        "values": {n: [*o.choices, ""] for o in options if o.takes for n in o.names},
    }
