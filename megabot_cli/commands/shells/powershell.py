"""Completion for PowerShell."""

from __future__ import annotations

import json

from megabot_cli.commands.outline import Outline
from megabot_cli.commands.shells.words import NOTE, all_options

# What an option takes is looked up by its name among the properties: an array of one empty text,
# which stands for anything, counts as false. The table is global: what `$script:` means when the
# block is called depends on how this file was loaded.
_POWERSHELL_FRAME = """# {note}
# Load with: . ./megabot.ps1

$global:MegabotCommands = @'
{table}
'@ | ConvertFrom-Json

Register-ArgumentCompleter -Native -CommandName megabot, megabot.exe -ScriptBlock {{
    param($wordToComplete, $commandAst, $cursorPosition)
    $path = 'megabot'
    $previous = ''
    foreach ($element in $commandAst.CommandElements | Select-Object -Skip 1) {{
        if ($element.Extent.EndOffset -ge $cursorPosition) {{ break }}
        $word = $element.Extent.Text
        $entry = $global:MegabotCommands.$path
        if (@($entry.values.PSObject.Properties.Name) -cnotcontains $previous) {{
            $below = @($entry.commands | Where-Object {{ $_.name -ceq $word }})
            if ($below.Count) {{ $path = $below[0].path }}
        }}
        $previous = $word
    }}
    $entry = $global:MegabotCommands.$path
    $found = if (@($entry.values.PSObject.Properties.Name) -ccontains $previous) {{
        $entry.values.$previous | Where-Object {{ $_ -ne '' }} |
            ForEach-Object {{ @{{ name = $_; help = $_ }} }}
    }} elseif ($wordToComplete.StartsWith('-')) {{ $entry.options }} else {{ $entry.commands }}
    $found | Where-Object {{
        $_.name.StartsWith($wordToComplete, [System.StringComparison]::Ordinal)
    }} | ForEach-Object {{
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
