"""`megabot gateway`: MegaBot on this machine."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from megabot_cli.commands.gateway_welcome import show_first_user, tell_what_is_kept
from megabot_cli.commands.guest import Guest
from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.scenario_check import require_scenario, show_scenario
from megabot_cli.commands.serving_recording import (
    AnsweringOptions,
    ClosesOption,
    IgnoreOption,
    MatchOption,
    MissOption,
    OpenRecording,
    check_upstream,
    open_answering,
    recorded_answers,
)
from megabot_cli.commands.tree import examples, forms
from megabot_cli.commands.values import MostlyOneOf, ScenarioName, duration, times_as_fast
from megabot_cli.errors import NotFound, WrongUsage

if TYPE_CHECKING:
    from megabot_cli.config.load import Configuration, Flag
    from megabot_cli.gateway.accounts import Users
    from megabot_cli.gateway.ledger import Ledger
    from megabot_cli.gateway.recorded_answers import RecordedAnswers
    from megabot_cli.gateway.server import Gateway


@dataclass(frozen=True)
class GatewayOptions:
    """What was asked of `gateway` beside the settings."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    users_file: Path | None = None
    data: Path | None = None
    ready_file: Path | None = None
    command: tuple[str, ...] = ()
    recording: OpenRecording | None = None

    @property
    def for_a_guest(self) -> bool:
        """Whether a command is run and nothing is to be kept after it."""
        return bool(self.command) and self.data is None and self.users_file is None


@forms("json", "text")
@examples(
    ("megabot gateway", "On 127.0.0.1:3000; the first user is made and shown once"),
    ("pass show megabot | megabot gateway --username ann --password-stdin", "A user of your own"),
    ("megabot gateway --listen :0 -- pytest", "Run a command against it, then stop"),
    ("megabot gateway --dialect flat", "The flat dialect; the token is made and shown once"),
    ("megabot gateway --assistant 'command:./answer'", "A program of yours answers"),
    ("megabot gateway --from-recording last --pace fast", "Answer as was recorded"),
    ("megabot gateway --scenario flaky-network", "The same faults each time"),
    ("megabot gateway --check-scenario mine.yaml", "Say what a scenario would do"),
)
def gateway(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- CMD…]",
            help="Run this with MEGABOT_URL and MEGABOT_API_KEY set, then stop with its exit code.",
        ),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="HOST:PORT", help="Where; port 0 is any free one."),
    ] = None,
    dialect: Annotated[
        Literal["megabot", "flat"] | None,
        typer.Option("--dialect", help="Envelopes, or flat JSON with a static token."),
    ] = None,
    users: Annotated[
        Path | None, typer.Option("--users", metavar="FILE", help="Another users file.")
    ] = None,
    username: Annotated[
        str | None, typer.Option("--username", metavar="NAME", help="Make this user first.")
    ] = None,
    # As it was called before it had the word that `login` has.
    user: Annotated[str | None, typer.Option("--user", hidden=True)] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="The password of --username, on stdin.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="Keep users, keys, sessions; else all is in memory.",
        ),
    ] = None,
    assistant: Annotated[
        str | None,
        typer.Option(
            "--assistant",
            metavar="WHO",
            parser=MostlyOneOf("echo", "markov", "openai:", "command:"),
            help="Who answers: echo, markov, openai:URL, command:CMD.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="The model, for openai:URL.")
    ] = None,
    chunk_delay: Annotated[
        float | None,
        typer.Option(
            "--chunk-delay", parser=duration, metavar="DURATION", help="Pause between two chunks."
        ),
    ] = None,
    latency: Annotated[
        float | None,
        typer.Option(
            "--latency", parser=duration, metavar="DURATION", help="Pause before the first chunk."
        ),
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option(
            "--scenario",
            metavar="FILE|NAME",
            parser=ScenarioName(),
            help="Play a scenario: scripted answers and faults.",
        ),
    ] = None,
    check_scenario: Annotated[
        str | None,
        typer.Option(
            "--check-scenario",
            metavar="FILE|NAME",
            parser=ScenarioName(),
            help="Check a scenario, print what it would do, and end.",
        ),
    ] = None,
    ready_file: Annotated[
        Path | None,
        typer.Option("--ready-file", metavar="FILE", help="Write the ready line here too."),
    ] = None,
    from_recording: Annotated[
        str | None,
        typer.Option(
            "--from-recording", metavar="RECORDING", help="Answer what was answered there."
        ),
    ] = None,
    match: MatchOption = None,
    ignore: IgnoreOption = None,
    miss: MissOption = None,
    pace: Annotated[
        str | None,
        typer.Option(
            "--pace",
            parser=MostlyOneOf("original", "fast", "fixed:"),
            metavar="PACE",
            help="original, fast, or fixed:10/s.",
        ),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            "--speed", parser=times_as_fast, metavar="X", help="Times as fast, 0.1 to 1000."
        ),
    ] = None,
    max_gap: Annotated[
        float | None,
        typer.Option(
            "--max-gap", parser=duration, metavar="DURATION", help="Cut longer pauses to this."
        ),
    ] = None,
    closes: ClosesOption = False,
) -> None:
    """Be MegaBot on this machine.

    Login, tokens, sessions and streamed answers, for development and tests. Prints one
    line of JSON when it is ready; logs go to stderr. SIGTERM and Ctrl-C stop it. What a script
    starts with & ignores SIGINT, for the shell has it so: there `kill` ends it.

    With --data users, keys and sessions are kept in DIR/gateway.sqlite3, and survive a kill:
    what was said as soon as an answer ends, what waits for delivery within half a second; of an
    answer under way the rest is lost, and after a power cut the last moments may be.

    With --from-recording a request gets what came to the recorded one that it is like, ids
    and times made anew. Asked again it gets what came the next time it was recorded; after
    the last time, that again. What nobody asked for comes at its recorded time since the
    connection.

    --match says when a request is like a recorded one: exact is the same type and payload;
    payload is that without ids and times in it; text compares the words alone, whatever
    their spacing and capitals; type is the type alone. Redacted places never count.

    --miss says what any other request gets: error is a connection_error 404 not_recorded;
    close is close code 1008; echo is what this gateway answers without a recording; forward
    is what the profile's upstream answers.
    """
    from megabot_cli.commands.flat_gateway import refuse_users
    from megabot_cli.commands.gateway_users import asked_password
    from megabot_cli.commands.running import run
    from megabot_cli.config.load import Flag

    invocation: Invocation = context.obj
    if check_scenario is not None:
        show_scenario(invocation, check_scenario)
        return
    username = username if username is not None else user
    if (username is None) == password_stdin:
        raise WrongUsage(
            "--username and --password-stdin belong together",
            "pass show megabot | megabot gateway --username NAME --password-stdin",
        )
    flags: dict[str, Flag | None] = {
        "gateway.listen": Flag("--listen", listen) if listen else None,
        "gateway.dialect": Flag("--dialect", dialect) if dialect else None,
        "gateway.chunk_delay_s": Flag("--chunk-delay", chunk_delay)
        if chunk_delay is not None
        else None,
        "gateway.scenario": Flag("--scenario", scenario) if scenario else None,
        "gateway.latency_s": Flag("--latency", latency) if latency is not None else None,
        "gateway.assistant": Flag("--assistant", assistant) if assistant else None,
        "gateway.assistant_model": Flag("--model", model) if model else None,
    }
    configuration = invocation.configure(flags)
    require_scenario(invocation)
    flat = configuration.settings.gateway.dialect == "flat"
    given = {
        "match": match,
        "ignore": tuple(ignore) if ignore else None,
        "miss": miss,
        "pace": pace,
        "speed": speed,
        "max_gap_s": max_gap,
        "closes": closes or None,
    }
    answering = _answering(
        from_recording, {name: word for name, word in given.items() if word is not None}
    )
    if from_recording == "-" and password_stdin:
        raise WrongUsage("stdin is the password or the recording, not both", "Name a file.")
    if flat:
        refuse_users(username=username, users_file=users)
    options = GatewayOptions(
        username,
        asked_password(invocation, username) if password_stdin and username is not None else None,
        users,
        data,
        ready_file,
        tuple(command or ()),
        open_answering(invocation, answering) if answering is not None else None,
    )
    if flat and answering is not None:
        raise WrongUsage(
            "--from-recording answers in the dialect it recorded",
            "Leave --dialect flat out; a flat recording is served as it is.",
        )
    begin = _serve_flat if flat else serve
    code = run(begin(invocation, configuration, options), loop="fast")
    if code:
        raise typer.Exit(code)


def _answering(recording: str | None, given: dict[str, Any]) -> AnsweringOptions | None:
    if recording is not None:
        return AnsweringOptions(recording, **given)
    if given:
        flag = next(iter(given)).removesuffix("_s").replace("_", "-")
        raise WrongUsage(f"--{flag} is about a recording", "Name one with --from-recording.")
    return None


async def serve(
    invocation: Invocation, configuration: Configuration, options: GatewayOptions
) -> int:
    """Serve until a signal comes, or until the command that was given has ended."""
    from megabot_cli.commands.secrets_in_use import secrets_in_environment
    from megabot_cli.commands.serving import configure_logs

    configure_logs(invocation, secrets_in_environment(invocation))
    if options.recording is None:
        return await _serve(invocation, configuration, options, None)
    async with recorded_answers(invocation, options.recording) as recorded:
        return await _serve(invocation, configuration, options, recorded)


async def _serve(
    invocation: Invocation,
    configuration: Configuration,
    options: GatewayOptions,
    recorded: RecordedAnswers | None,
) -> int:
    from megabot_cli.commands.serving import (
        announce,
        remove_ready_file,
        serve_until_signal,
    )
    from megabot_cli.gateway.ledger import Ledger

    with contextlib.closing(Ledger.open(options.data)) as ledger:
        if options.data is not None:
            _migrate(invocation, options.data, ledger)
        users = _open_users(invocation, options, ledger)
        passwords = (options.password, users.made[1] if users.made is not None else None)
        invocation.known_secrets.learn("password", [each for each in passwords if each])
        gateway = _open_gateway(invocation, configuration, users, ledger, recorded)
        guest = Guest(options.command)
        await gateway.start()
        try:
            if recorded is not None and recorded.miss == "forward":
                check_upstream(invocation, gateway)
            ready = {"url": gateway.url, "http_url": gateway.http_url, "pid": os.getpid()}
            guest.environment = _guest_environment(invocation, options, users, gateway)

            def say_ready() -> None:
                # The output of a command that we run is the result: ours would be in its way.
                announce(invocation, ready, options.ready_file, quietly=bool(options.command))
                if not options.for_a_guest:
                    show_first_user(invocation, users.made, gateway.url)
                    tell_what_is_kept(invocation, options.data, options.users_file)

            await serve_until_signal(guest.run, say_ready=say_ready, hear=guest.hear)
        finally:
            remove_ready_file(options.ready_file)
            await gateway.stop()
    return guest.exit_code


async def _serve_flat(
    invocation: Invocation, configuration: Configuration, options: GatewayOptions
) -> int:
    """As `_serve`, for the flat dialect."""
    from megabot_cli.commands import flat_gateway as flat
    from megabot_cli.commands.secrets_in_use import secrets_in_environment
    from megabot_cli.commands.serving import (
        announce,
        configure_logs,
        remove_ready_file,
        serve_until_signal,
    )

    configure_logs(invocation, secrets_in_environment(invocation))
    if options.data is not None:
        from megabot_cli.gateway.ledger import Ledger

        with contextlib.closing(Ledger.open(options.data)) as ledger:
            _migrate(invocation, options.data, ledger)
    token = flat.static_token(invocation.environ, options.data)
    invocation.known_secrets.learn("flat token", [token.secret])
    gateway = flat.open_flat_gateway(invocation, configuration.settings, token)
    guest = Guest(options.command)
    await gateway.start()
    try:
        ready = {"url": gateway.url, "http_url": gateway.http_url, "pid": os.getpid()}
        guest.environment = {**invocation.environ, **flat.guest_environment(gateway.url, token)}

        def say_ready() -> None:
            facts = {**ready, "dialect": "flat"}
            announce(invocation, facts, options.ready_file, quietly=bool(options.command))
            if token.made and not options.for_a_guest:
                invocation.console.note(f"The token, shown only this once:  {token.secret}")

        await serve_until_signal(guest.run, say_ready=say_ready, hear=guest.hear)
    finally:
        remove_ready_file(options.ready_file)
        await gateway.stop()
    return guest.exit_code


@dataclass
class FirstUser:
    """Users, and the one just made: its password is shown once and kept nowhere."""

    users: Users
    made: tuple[str, str] | None


def _migrate(invocation: Invocation, folder: Path, ledger: Ledger) -> None:
    from megabot_cli.gateway.migration import migrate

    for path in migrate(folder, ledger):
        invocation.console.note(
            f"Its content is in the data file now; remove it when all is well: {path}"
        )


def _open_users(invocation: Invocation, options: GatewayOptions, ledger: Ledger) -> FirstUser:
    from megabot_cli.gateway.accounts import Users

    if options.users_file is not None:
        folder = options.users_file.parent
        if not folder.is_dir():  # a slip of the fingers, and no wish for new folders
            raise NotFound(f"There is no folder {folder} for the users file", "Look at --users.")
        if not options.users_file.exists():
            invocation.console.warn(f"There is no users file {options.users_file} yet; it is made")
        users = Users.load(options.users_file)
    elif ledger.kept:
        users = Users.open(ledger)
    else:
        users = Users.in_memory()
    if options.username is not None and options.password is not None:
        users.add(options.username, options.password)
    return FirstUser(users, users.ensure_first())


def _open_gateway(
    invocation: Invocation,
    configuration: Configuration,
    users: FirstUser,
    ledger: Ledger,
    recorded: RecordedAnswers | None,
) -> Gateway:
    from megabot_cli.commands.assistant_key import model_key
    from megabot_cli.gateway.assistants.choice import open_assistant
    from megabot_cli.gateway.keys import Keys
    from megabot_cli.gateway.server import Gateway

    settings = configuration.settings
    with invocation.blaming_flags("gateway", "assistant"):
        assistant = open_assistant(settings.gateway, lambda: model_key(invocation))
    return Gateway(
        settings.gateway,
        settings.limits,
        users.users,
        keys=Keys.open(ledger),
        ledger=ledger,
        recorded=recorded,
        assistant=assistant,
    )


def _guest_environment(
    invocation: Invocation, options: GatewayOptions, users: FirstUser, gateway: Gateway
) -> dict[str, str]:
    """The environment, with the way to this gateway; a key too where nothing outlives us."""
    environment = {**invocation.environ, "MEGABOT_URL": gateway.url}
    if options.for_a_guest:
        name = options.username or users.users.names[0]
        environment["MEGABOT_API_KEY"] = users.users.add_api_key(name)
    return environment
