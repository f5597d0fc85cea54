"""Every command in the order `--help` shows them: names, lines of help, where bodies are.

Nothing is imported here: `megabot --help` shows this table and starts as quickly as it can.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """One command: its name, its line of help, and where its body is (`module:function`).

    A group has `children` instead of a body; its long help is the docstring of the module
    named by `body`. One that has both is a command of its own, with commands below it.
    Entries of the first level stand under their `heading`.
    """

    name: str
    help: str
    body: str
    heading: str = "Commands"
    children: tuple[Entry, ...] = ()
    aliases: tuple[str, ...] = ()


_AT = "megabot_cli.commands"
START = "Start here"
TALK = "Talk"
WATCH = "Record and replay"
RUN = "Run"
SET_UP = "Set up"

COMMANDS = (
    Entry("demo", "Show the whole product at work, by itself.", f"{_AT}.demo:demo", START),
    Entry("login", "Prove who you are and keep the credential.", f"{_AT}.login:login", START),
    Entry("logout", "Forget the credential of a profile.", f"{_AT}.logout:logout", START),
    Entry("whoami", "Say who you are, where, and until when.", f"{_AT}.whoami:whoami", START),
    Entry("token", "Print a valid token for scripts.", f"{_AT}.token:token", START),
    Entry("send", "Send a message and print the answer.", f"{_AT}.send:send", TALK),
    Entry("tool", "Have MegaBot run a tool and print its result.", f"{_AT}.tool:tool", TALK),
    Entry("chat", "Talk with MegaBot, line by line.", f"{_AT}.chat:chat", TALK),
    Entry("tail", "Show messages as they pass.", f"{_AT}.tail:tail", TALK),
    Entry(
        "relay",
        "Share upstream links among local programs.",
        f"{_AT}.relay:relay",
        RUN,
        children=(
            Entry("status", "How the running relay is.", f"{_AT}.relay_control:status"),
            Entry("clients", "Who is connected to it.", f"{_AT}.relay_control:clients"),
            Entry("sessions", "Its sessions and their links.", f"{_AT}.relay_control:sessions"),
            Entry("top", "Watch it work, live.", f"{_AT}.relay_control:top"),
            Entry("close", "Close a client, session or link.", f"{_AT}.relay_control:close"),
            Entry("drain", "Let work finish, then stop it.", f"{_AT}.relay_control:drain"),
            Entry("reauth", "Have it read its credential anew.", f"{_AT}.relay_control:reauth"),
            Entry("reload", "Have it read its configuration anew.", f"{_AT}.relay_control:reload"),
            Entry("mark", "Put a mark into the recording.", f"{_AT}.relay_control:mark"),
            Entry("level", "Set how much it logs.", f"{_AT}.relay_control:level"),
            Entry("dump", "Write out the flight recorder.", f"{_AT}.relay_control:dump"),
        ),
    ),
    Entry(
        "gateway",
        "Be MegaBot on this machine.",
        f"{_AT}.gateway:gateway",
        RUN,
        children=(
            Entry(
                "users",
                "Who may log in at a gateway with --data.",
                f"{_AT}.gateway_users",
                children=(
                    Entry("list", "List the users.", f"{_AT}.gateway_users:list_users"),
                    Entry("add", "Make a user.", f"{_AT}.gateway_users:add"),
                    Entry("password", "Change a password.", f"{_AT}.gateway_users:password"),
                    Entry("remove", "Remove a user.", f"{_AT}.gateway_users:remove"),
                ),
            ),
            Entry(
                "keys",
                "API keys of a gateway with --data.",
                f"{_AT}.gateway_keys",
                children=(
                    Entry("list", "List the API keys.", f"{_AT}.gateway_keys:list_keys"),
                    Entry("add", "Make an API key.", f"{_AT}.gateway_keys:add"),
                    Entry("revoke", "Revoke an API key.", f"{_AT}.gateway_keys:revoke"),
                ),
            ),
        ),
    ),
    Entry("replay", "Send a recording again and compare.", f"{_AT}.replay:replay", WATCH),
    Entry(
        "recordings",
        "Look into recordings, compare and change them.",
        f"{_AT}.recordings",
        WATCH,
        children=(
            Entry(
                "list",
                "List the recordings there are.",
                f"{_AT}.recordings_list:list_recordings",
            ),
            Entry("show", "Show what is in a recording.", f"{_AT}.recordings:show"),
            Entry("stats", "Count what is in a recording.", f"{_AT}.recordings_stats:stats"),
            Entry("grep", "Find messages in recordings.", f"{_AT}.recordings_grep:grep"),
            Entry("diff", "Say how two recordings differ.", f"{_AT}.recordings_diff:diff"),
            Entry(
                "prune",
                "Remove recordings that have been kept long enough.",
                f"{_AT}.recordings_prune:prune",
            ),
            Entry("verify", "Prove that a recording is whole.", f"{_AT}.recordings:verify"),
            Entry(
                "cut",
                "Make a recording of a part of another.",
                f"{_AT}.recordings_cut:cut",
            ),
            Entry(
                "merge",
                "Make one recording of several, by time.",
                f"{_AT}.recordings_merge:merge",
            ),
            Entry(
                "sanitize",
                "Write a recording again with less in it.",
                f"{_AT}.recordings_sanitize:sanitize",
            ),
            Entry(
                "convert",
                "Turn a recording into something else, or into one.",
                f"{_AT}.recordings_convert:convert",
            ),
        ),
        aliases=("rec",),
    ),
    Entry("doctor", "Find out what is wrong, and how to mend it.", f"{_AT}.doctor:doctor", SET_UP),
    Entry(
        "completions",
        "Have the shell complete commands and values.",
        f"{_AT}.completions",
        SET_UP,
        children=(
            Entry("show", "Print a shell's completion script.", f"{_AT}.completions:show"),
            Entry(
                "install",
                "Put a completion script where the shell finds it.",
                f"{_AT}.completions:install",
            ),
        ),
    ),
    Entry(
        "bench",
        "Measure what this path carries: rate, latency, fan-out.",
        f"{_AT}.bench:bench",
        RUN,
    ),
    Entry(
        "config",
        "Show the settings and where they come from.",
        f"{_AT}.config",
        SET_UP,
        children=(
            Entry("init", "Write a configuration file to begin with.", f"{_AT}.config_init:init"),
            Entry("show", "Show each setting and its source.", f"{_AT}.config:show"),
            Entry("check", "Say all that is wrong in a file.", f"{_AT}.config_check:check"),
            Entry("explain", "Say all about one setting.", f"{_AT}.config_explain:explain"),
            Entry("profiles", "List the profiles.", f"{_AT}.config_profiles:profiles"),
            Entry("use", "Choose the profile to use from now on.", f"{_AT}.config_profiles:use"),
            Entry("path", "Print where things are.", f"{_AT}.config:path"),
            Entry("schema", "Print the JSON Schema of config.yaml.", f"{_AT}.config:schema"),
        ),
    ),
)

ABOUT = "The operator's console, local relay and gateway for MegaBot's WebSocket API."
