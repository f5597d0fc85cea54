"""Completion for PowerShell, 5.1 and later."""

from __future__ import annotations

import json

from megabot_cli.commands.outline import Argument, Option, Outline, everywhere
from megabot_cli.commands.shells.words import NOTE, all_options, fixed_words

# The functions stand inside the block, where nobody else's names are touched. What PowerShell
# wants of a completer (PowerShell's CompletionCompleters.cs):
# - the word at the cursor comes with its quotes, and the whole of it is replaced;
# - `commandAst` has no element for an empty word: the last one then ends before the cursor;
# - a CompletionResult takes no empty text, so what has no help is its own;
# - where nothing is offered it completes files, which can be kept off by offering the word
#   itself, but not where the word is empty;
# - the exit code of a program that a completer calls would stay in the user's $LASTEXITCODE.
_FRAME = r"""# <note>
# Load with: . ./megabot.ps1

# Global: what `$script:` means when the block is called depends on how this file was loaded.
# It stays text until the first TAB: a new shell need not wait until it is read.
$global:MegabotCommands = @'
<table>
'@

Register-ArgumentCompleter -Native -CommandName @('megabot', 'megabot.exe') -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    Set-StrictMode -Off

    # A word as it is meant: without its quotes, of which the last may not be typed yet.
    function Get-Plain($text) {
        if ($text -notmatch '^[''"]') { return $text }
        $quote = $text.Substring(0, 1)
        $inner = $text.Substring(1)
        if ($inner.EndsWith($quote)) { $inner = $inner.Substring(0, $inner.Length - 1) }
        return $inner.Replace($quote + $quote, $quote)
    }

    function Find-Option($name) {
        @($entry.options) + @($global:MegabotCommands.everywhere) |
            Where-Object { $_.names -ccontains $name } | Select-Object -First 1
    }

    # A folder of megabot's, as the program itself finds it.
    function Get-Folder($variable, $belowHome) {
        if ($env:OS -eq 'Windows_NT') { return "$env:LOCALAPPDATA/megabot" }
        if ($IsMacOS) { return "$HOME/Library/Application Support/megabot" }
        $base = [Environment]::GetEnvironmentVariable($variable)
        if (-not $base) { $base = "$HOME/$belowHome" }
        return "$base/megabot"
    }

    function Get-DataFolder {
        if ($env:MEGABOT_HOME) { return $env:MEGABOT_HOME }
        return Get-Folder 'XDG_DATA_HOME' '.local/share'
    }

    function Get-Recordings {
        Get-ChildItem -LiteralPath "$(Get-DataFolder)/recordings" -Name -ErrorAction Ignore
    }

    # Those that are logged in, and those that config.yaml names; YAML that stands on one line is
    # not looked at.
    function Get-Profiles {
        Get-ChildItem -LiteralPath "$(Get-DataFolder)/credentials" -ErrorAction Ignore |
            Where-Object { $_.Extension -eq '.json' } | ForEach-Object { $_.BaseName }
        $file = $env:MEGABOT_CONFIG
        if (-not $file) {
            $folder = $env:MEGABOT_HOME
            if (-not $folder) { $folder = Get-Folder 'XDG_CONFIG_HOME' '.config' }
            $file = "$folder/config.yaml"
        }
        $inside = $false
        $depth = 0
        foreach ($line in @(Get-Content -LiteralPath $file -ErrorAction Ignore)) {
            if ($line -cmatch '^profiles:') { $inside = $true; continue }
            if ($line -match '^[^ \t#]') { $inside = $false }
            if ($inside -and $line -match '^([ \t]*)([^ \t#].*)$') {
                $indent = $Matches[1].Length
                $name = $Matches[2] -replace '[ \t"'']|:.*', ''
                if (-not $depth) { $depth = $indent }
                if ($indent -eq $depth -and $name -match '^[A-Za-z0-9_.-]+$') { $name }
            }
        }
    }

    # The sessions of the relays that run; each is asked for a second at most.
    function Get-Sessions {
        $curl = @(Get-Command -Name curl -CommandType Application -ErrorAction Ignore)[0]
        if (-not $curl) { return }
        $folder = Get-Folder 'XDG_STATE_HOME' '.local/state'
        if ($env:MEGABOT_HOME) { $folder = "$env:MEGABOT_HOME/state" }
        $OutputEncoding = [System.Text.UTF8Encoding]::new($false)
        $exitCode = $global:LASTEXITCODE
        foreach ($file in @(Get-ChildItem -LiteralPath "$folder/run" -ErrorAction Ignore)) {
            if ($file.Name -notlike 'relay-*.json') { continue }
            try {
                $facts = Get-Content -LiteralPath $file.FullName -Raw | ConvertFrom-Json
                # Of one that is dead the address may be somebody else's by now.
                $null = Get-Process -Id $facts.pid -ErrorAction Stop
                if ($facts.admin_url -match '^unix:(.+)$') {
                    $asked = @("unix-socket = `"$($Matches[1])`"")
                    $asked += 'url = http://localhost/relay/sessions'
                } else {
                    $asked = @("url = `"$($facts.admin_url)/relay/sessions`"")
                }
                if ($facts.token_file -and (Test-Path -LiteralPath $facts.token_file)) {
                    $key = "$(Get-Content -LiteralPath $facts.token_file -Raw)".Trim()
                    $asked += "header = `"Authorization: Bearer $key`""
                }
                # On stdin: the arguments of a program can be read by others.
                $reply = $asked | & $curl.Path '-K' '-' '-gsm' '1' '--noproxy' '*' 2>$null
                [regex]::Matches("$reply", '"session": ?"([A-Za-z0-9_.-]+)"') |
                    ForEach-Object { $_.Groups[1].Value }
            } catch {
                continue
            }
        }
        $global:LASTEXITCODE = $exitCode
    }

    # What may stand where $what is meant and $typed is already there.
    function Get-Values($what, $typed) {
        $names = @($what.words)
        switch ($what.kept) {
            'profile' { $names += @(Get-Profiles) }
            'recording' { $names += @(Get-Recordings) }
            'session' { $names += @(Get-Sessions) }
        }
        $names | Select-Object -Unique |
            Where-Object { $_ -and $_.StartsWith($typed, [StringComparison]::Ordinal) } |
            ForEach-Object { @{ name = $_; help = $what.help; kind = 'ParameterValue' } }
        if (@('file', 'folder', 'recording') -ccontains $what.kept) {
            [System.Management.Automation.CompletionCompleters]::CompleteFilename($typed) |
                Where-Object {
                    $what.kept -cne 'folder' -or $_.ResultType -eq 'ProviderContainer'
                } |
                ForEach-Object {
                    $name = Get-Plain $_.CompletionText
                    @{ name = $name; help = $_.ToolTip; kind = $_.ResultType }
                }
        }
    }

    if ($global:MegabotCommands -is [string]) {
        $global:MegabotCommands = ConvertFrom-Json $global:MegabotCommands
    }
    $path = 'megabot'
    $entry = $global:MegabotCommands.commands.$path
    $given = 0
    $option = $null
    foreach ($element in @($commandAst.CommandElements | Select-Object -Skip 1)) {
        if ($element.Extent.EndOffset -ge $cursorPosition) { break }
        $word = Get-Plain $element.Extent.Text
        if ($option -and (-not $option.alone -or $word -match '^[+-]?[0-9]+$')) {
            $option = $null
            continue
        }
        if ($word -ceq '--') { return }  # what follows is for another program: files
        if ($word.StartsWith('-')) {
            $option = Find-Option $word
            if (-not $option.takes) { $option = $null }
            continue
        }
        $below = @($entry.commands | Where-Object { $_.name -ceq $word })[0]
        if ($below) {
            $entry = $global:MegabotCommands.commands.($below.path)
        } else {
            $given += 1
        }
    }

    if ($option.alone) { $option = $null }  # what may follow it may stand anywhere
    $typed = "$(Get-Plain $wordToComplete)"
    $before = ''
    if (-not $option -and $typed -match '^(--[^=]+)=(.*)$') {
        $before = $Matches[1] + '='
        $typed = $Matches[2]
        $option = Find-Option $before.TrimEnd('=')
        if (-not $option.takes) { return }
    }
    if ($option) {
        $found = @(Get-Values $option $typed)
    } elseif ($typed.StartsWith('-')) {
        $found = @(
            @($entry.options) + @($global:MegabotCommands.everywhere) | ForEach-Object {
                foreach ($name in $_.names) {
                    @{ name = $name; help = $_.help; kind = 'ParameterName' }
                }
            } | Where-Object { $_.name.StartsWith($typed, [StringComparison]::Ordinal) }
        )
    } else {
        $found = @($entry.commands | Where-Object {
                $_ -and -not $given -and $_.name.StartsWith($typed, [StringComparison]::Ordinal)
            } | ForEach-Object { @{ name = $_.name; help = $_.help; kind = 'ParameterValue' } })
        $arguments = @($entry.arguments)
        $argument = $arguments[$given]
        if (-not $argument -and $arguments.Count -and $arguments[-1].repeats) {
            $argument = $arguments[-1]
        }
        if ($argument) { $found += @(Get-Values $argument $typed) }
    }

    if (-not $found.Count -and $wordToComplete) {
        $found = @(@{ name = $typed; help = $typed; kind = 'Text' })
    }
    foreach ($each in $found) {
        $text = $before + $each.name
        $help = $each.help
        if (-not $text) { continue }
        if (-not $help) { $help = $each.name }
        # What PowerShell would take apart, expand or fill in stands between quotes.
        if ($text -match '[\s''"`$(){};,|&<>@#*?\[\u2018-\u201f]') {
            $text = "'" + ($text -replace '([''\u2018-\u201b])', '$1$1') + "'"
        }
        [System.Management.Automation.CompletionResult]::new(
            $text, $each.name, $each.kind, $help)
    }
}
"""


def powershell_script(root: Outline) -> str:
    """The script; plain ASCII, for version 5.1 takes anything else to be of the system's own set
    of characters."""
    shared = [_option(each) for each in everywhere() if "--output" not in each.names]
    commands = ",\n".join(
        f"{_json(' '.join(each.path))}: {_json(_entry(each))}" for each in root.walk()
    )
    table = f'{{"everywhere": {_json(shared)},\n"commands": {{\n{commands}\n}}}}'
    return _FRAME.replace("<note>", NOTE).replace("<table>", table)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def _entry(command: Outline) -> dict[str, object]:
    """What may follow a command; of the common options only `-o`, whose forms differ."""
    own = [
        *command.options,
        *(each for each in all_options(command) if "--output" in each.names),
    ]
    return {
        "commands": [
            {"name": name, "path": " ".join(child.path), "help": child.line}
            for child in command.children
            for name in (child.path[-1], *child.aliases)
        ],
        "options": [_option(each) for each in own],
        "arguments": [
            {**_values(each), "repeats": each.repeats, "name": each.name}
            for each in command.arguments
        ],
    }


def _option(option: Option) -> dict[str, object]:
    alone = {"alone": True} if option.may_stand_alone else {}
    return {"names": option.names, "takes": option.takes is not None, **alone, **_values(option)}


def _values(what: Option | Argument) -> dict[str, object]:
    return {"words": fixed_words(what), "kept": what.completes, "help": what.help}
