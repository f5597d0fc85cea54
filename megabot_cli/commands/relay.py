"""`megabot relay`: local programs share upstream links."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.tree import examples, forms
from megabot_cli.commands.values import duration
from megabot_cli.errors import NotAuthenticated, NotFound, PartlyFailed, WrongUsage
from megabot_cli.version import __version__

if TYPE_CHECKING:
    from megabot_cli.commands.relay_signals import Wishes
    from megabot_cli.config.load import Flag
    from megabot_cli.config.schema import Settings
    from megabot_cli.recording.known_secrets import KnownSecrets
    from megabot_cli.relay.identity import Served, Upstream
    from megabot_cli.relay.reloading import Reread
    from megabot_cli.relay.server import Relay
    from megabot_cli.storage.recorder import Recorder
    from megabot_cli.storage.run_files import RunningRelay


@dataclass(frozen=True)
class ServeOptions:
    """What was asked of `relay` beside the settings."""

    ready_file: Path | None
    gateway: bool
    debug_bodies: bool


@forms("json", "text")
@examples(
    ("megabot relay --gateway", "Everything on this machine, nothing to set up"),
    ("megabot relay", "Clients connect to ws://127.0.0.1:3100/ws without a credential"),
    ("megabot relay --upstream wss://megabot.example/ws -p production", "Another upstream"),
    ("megabot relay --also staging", "Two upstreams; the second one at /ws/staging"),
    ("megabot relay --ring 5m --trigger 'type == \"connection_error\"'", "Keep what led to it"),
    ("megabot relay --listen :0 --admin-listen :0 --ready-file relay.json", "On free ports"),
)
def relay(
    context: typer.Context,
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen", metavar="HOST:PORT", help="Where clients connect; port 0 is any; unix:PATH."
        ),
    ] = None,
    admin_listen: Annotated[
        str | None,
        typer.Option("--admin-listen", metavar="HOST:PORT", help="Where health and metrics are."),
    ] = None,
    upstream: Annotated[
        str | None, typer.Option("--upstream", metavar="URL", help="The upstream; as --url.")
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option("--also", metavar="PROFILE", help="Serve this profile too, at /ws/PROFILE."),
    ] = None,
    mode: Annotated[
        Literal["session", "dedicated", "shared"] | None,
        typer.Option("--mode", help="How clients share links: see megabot-config(5)."),
    ] = None,
    record: Annotated[
        Path | None, typer.Option("--record", metavar="DIR", help="Keep recordings here.")
    ] = None,
    no_record: Annotated[bool, typer.Option("--no-record", help="Record nothing.")] = False,
    rate_limit: Annotated[
        float | None,
        typer.Option(
            "--rate-limit", metavar="N", help="Messages a second to the upstream; 0 is no limit."
        ),
    ] = None,
    ring: Annotated[
        float | None,
        typer.Option(
            "--ring", parser=duration, metavar="DURATION", help="Flight recorder: keep so much."
        ),
    ] = None,
    trigger: Annotated[
        str | None,
        typer.Option(
            "--trigger", metavar="CEL", help="Write it when a record comes of which this holds."
        ),
    ] = None,
    echo: Annotated[
        bool, typer.Option("--echo", help="Show clients what their fellows send.")
    ] = False,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option("--allow-origin", metavar="ORIGIN", help="Pages that may connect."),
    ] = None,
    require_token: Annotated[
        bool, typer.Option("--require-token", help="Demand the client token from everybody.")
    ] = False,
    insecure_remote: Annotated[
        bool, typer.Option("--insecure-remote", help="Listen beyond this machine without TLS.")
    ] = False,
    tls_insecure: Annotated[
        bool, typer.Option("-k", "--tls-insecure", help="Do not verify the upstream's certificate.")
    ] = False,
    gateway: Annotated[
        bool, typer.Option("--gateway", help="Run a gateway too, and be its client.")
    ] = False,
    ready_file: Annotated[
        Path | None,
        typer.Option("--ready-file", metavar="FILE", help="Write the ready line here too."),
    ] = None,
    debug_bodies: Annotated[
        bool,
        typer.Option(
            "--debug-bodies", help="With --debug, log what messages say, without secrets."
        ),
    ] = False,
) -> None:
    """Share upstream links among local programs.

    Clients connect to it as they would to MegaBot, without a credential: the relay has the
    one of the profile. It keeps one link for each session, reconnects while clients stay,
    and records what passes. Prints one line of JSON when it is ready; logs go to stderr.
    SIGTERM and Ctrl-C let work under way finish; a second one stops at once. What a script
    starts with & ignores SIGINT, for the shell has it so: there `kill` ends it, and `kill -INT`
    does nothing. Away from a terminal SIGHUP reads settings, credential and certificates anew;
    SIGUSR1 writes the flight recorder, as `relay dump` does and a record that --trigger waits
    for.
    """
    from megabot_cli.commands.running import run

    invocation: Invocation = context.obj
    if record is not None and no_record:
        raise WrongUsage("--record and --no-record exclude each other", "Give one of them.")
    invocation.configure(
        {
            "relay.listen": _flag("--listen", listen),
            "relay.admin_listen": _flag("--admin-listen", admin_listen),
            "profiles.*.url": _flag("--upstream", upstream),
            "profiles.*.tls.insecure": _flag("--tls-insecure", tls_insecure or None),
            "relay.also": _flag("--also", also),
            "relay.mode": _flag("--mode", mode),
            "recording.enabled": _flag("--no-record", False if no_record else None),
            "recording.folder": _flag("--record", str(record) if record else None),
            "limits.messages_per_second": _flag("--rate-limit", rate_limit),
            "relay.flight_recorder_s": _flag("--ring", ring),
            "relay.flight_recorder_trigger": _flag("--trigger", trigger),
            "relay.echo": _flag("--echo", echo or None),
            "relay.allowed_origins": _flag("--allow-origin", allow_origin),
            "relay.require_token": _flag("--require-token", require_token or None),
            "relay.insecure_remote": _flag("--insecure-remote", insecure_remote or None),
        }
    )
    if gateway and (upstream is not None or invocation.options.url is not None):
        raise WrongUsage(
            "--gateway is the upstream: it goes without --upstream and --url", "Leave them out."
        )
    if debug_bodies and not invocation.options.debug:
        raise WrongUsage(
            "--debug-bodies says more of each message: it goes with --debug", "Add --debug."
        )
    run(_serve(invocation, ServeOptions(ready_file, gateway, debug_bodies)), loop="fast")


def _flag(name: str, value: Any) -> Flag | None:
    from megabot_cli.config.load import Flag

    return None if value is None else Flag(name, value)


async def _serve(invocation: Invocation, options: ServeOptions) -> None:
    """Serve the upstream, or the gateway that is started for it."""
    from megabot_cli.commands.embedded_gateway import embedded_gateway
    from megabot_cli.commands.relay_signals import Wishes
    from megabot_cli.commands.secrets_in_use import secrets_in_environment
    from megabot_cli.commands.serving import configure_logs

    known = secrets_in_environment(invocation)
    configure_logs(invocation, known)
    wishes = Wishes()
    # A terminal that goes takes its relay along; a service reloads, as services do.
    with wishes.heard(hang_up_reloads=not invocation.console.in_is_terminal):
        if not options.gateway:
            await _serve_upstream(invocation, options, known, wishes)
            return
        async with embedded_gateway(invocation) as gateway:
            invocation.configure({"profiles.*.url": _flag("--gateway", gateway.url)})
            await _serve_upstream(invocation, options, known, wishes, login=gateway.login)


async def _serve_upstream(
    invocation: Invocation,
    options: ServeOptions,
    known: KnownSecrets,
    wishes: Wishes,
    login: tuple[str, str] | None = None,
) -> None:
    """Serve until a signal comes or the relay stops by itself. `login` is a name and password."""
    import msgspec

    from megabot_cli.commands.own_files import own_file
    from megabot_cli.commands.relay_words import never_reached, ready_facts, status_line
    from megabot_cli.commands.serving import announce, remove_ready_file, serve_until_signal
    from megabot_cli.commands.supervisor import Supervisor
    from megabot_cli.commands.upstream import with_login_hint
    from megabot_cli.storage.run_files import (
        find_running_relay,
        remove_run_file,
        write_run_file,
    )

    supervisor = Supervisor.of(os.environ)
    recorder = _open_recorder(invocation, known)
    if recorder is not None:
        recorder.prepare()  # while the relay is imported
    token_file = invocation.places.state / "client-token"
    relay = _open_relay(invocation, recorder, token_file, login, options, known)
    try:
        upstreams = await _started(relay)
    except NotAuthenticated as refusal:
        raise with_login_hint(invocation, refusal) from None
    running = [_describe(relay, name, recorder, token_file) for name in upstreams]
    try:
        for each in running:
            first = find_running_relay(invocation.places.run, each.profile)
            if first is not None:
                invocation.console.warn(
                    f"another relay serves profile {each.profile!r} already: {first.url}, "
                    f"process {first.pid}; commands go to this one until it stops"
                )
            with own_file(invocation.places.run):
                write_run_file(invocation.places.run, each)

        def write_down() -> None:
            """Also after a reload, which may have named another certificate, or begun another
            recording."""
            shown = _certificate_of(relay)
            kept = str(recorder.folder) if recorder is not None else None
            for number, each in enumerate(running):
                if (each.ca_file, each.recording) != (shown, kept):
                    each = msgspec.structs.replace(each, ca_file=shown, recording=kept)
                    running[number] = each
                    write_run_file(invocation.places.run, each)

        relay.operations.on_reloaded = write_down

        def say_ready() -> None:
            announce(invocation, ready_facts(running, upstreams), options.ready_file)
            supervisor.ready()
            wishes.heed(relay, supervisor)

        async def drain() -> None:
            supervisor.stopping()
            await relay.drain()

        with supervisor.heartbeat(lambda: status_line(relay)):
            hang_up_stops = invocation.console.in_is_terminal
            await serve_until_signal(
                relay.wait_stopped, drain, say_ready=say_ready, hang_up_stops=hang_up_stops
            )
        if "up" not in upstreams.values() and not relay.numbers.link_up_s:
            invocation.console.warn(never_reached(relay))
        if relay.stopped_by is not None:
            raise PartlyFailed(
                f"The relay stopped as recording.on_disk_full says: {relay.stopped_by}",
                "Make room; or set recording.on_disk_full: stop_recording to go on without.",
            )
    finally:
        wishes.heed_no_more()
        supervisor.stopping()
        for each in running:
            remove_run_file(invocation.places.run, each.profile, each.pid)
        remove_ready_file(options.ready_file)
        await relay.stop()


async def _started(relay: Relay) -> dict[str, Upstream]:
    """Start it. Where that fails no recording is left that holds nothing and would be `last`."""
    import asyncio

    from megabot_cli.storage.recordings_list import remove_if_empty

    try:
        return await relay.start()
    except BaseException:
        if relay.recorder is not None:
            await asyncio.to_thread(remove_if_empty, relay.recorder.folder)
        raise


def _open_recorder(invocation: Invocation, known: KnownSecrets) -> Recorder | None:
    from megabot_cli.storage.recorder import Recorder

    configuration = invocation.configuration
    settings = configuration.settings.recording
    if not settings.enabled:
        return None
    return Recorder(
        invocation.recordings_folder,
        settings,
        tool=f"megabot {__version__}",
        upstream=configuration.profile.url,
        apart=settings.writer == "process"
        or (settings.writer == "auto" and (os.cpu_count() or 1) > 1),
        known=known,
    )


def _open_relay(
    invocation: Invocation,
    recorder: Recorder | None,
    token_file: Path,
    login: tuple[str, str] | None,
    options: ServeOptions,
    known: KnownSecrets,
) -> Relay:
    from megabot_cli.commands.own_files import ensure_client_token
    from megabot_cli.recording.redaction import Redactor
    from megabot_cli.relay.operations import Dumps
    from megabot_cli.relay.server import Relay

    configuration = invocation.configuration
    settings = configuration.settings
    served = _served(invocation, login)
    return Relay(
        settings.relay,
        settings.limits,
        served=served,
        client_token=ensure_client_token(token_file),
        version=__version__,
        recorder=recorder,
        stop_on_recorder_fault=settings.recording.on_disk_full == "stop_relay",
        debug=invocation.options.debug or invocation.options.verbose > 1,
        debug_bodies=options.debug_bodies,
        redactor=Redactor(
            os.urandom(16),
            settings.recording.redact_keys,
            settings.recording.redact_patterns,
            known,
        ),
        dumps=Dumps(invocation.recordings_folder, settings.recording),
        read_settings=lambda: _reread(invocation, settings, served, gateway=options.gateway),
    )


def _served(invocation: Invocation, login: tuple[str, str] | None) -> list[Served]:
    """The profile in force, then those that are served beside it."""
    from megabot_cli.commands.upstream import token_source
    from megabot_cli.config.spelling import did_you_mean
    from megabot_cli.relay.identity import Served

    configuration = invocation.configuration
    known = configuration.settings.profiles
    names = dict.fromkeys((configuration.profile_name, *configuration.settings.relay.also))
    for name in names:
        if name not in known:
            raise NotFound(
                f"There is no profile {name!r} (relay.also)",
                did_you_mean(name, known) or f"Known: {', '.join(sorted(known))}.",
            )
    return [
        Served(
            name,
            known[name],
            lambda http, name=name: token_source(  # type: ignore[misc]
                invocation, http, login=login, profile=name
            ),
        )
        for name in names
    ]


def _reread(
    invocation: Invocation, first: Settings, served: list[Served], *, gateway: bool
) -> Reread:
    """What the files say now. All that waits for a restart, such as where a profile is and which
    one is in force, is asked of the configuration that the relay began with: also from now on."""
    from megabot_cli.relay.reloading import reread

    in_force = invocation.configuration
    try:
        now = invocation.configure({}).settings
    finally:
        invocation.configuration = in_force
    return reread(first, now, [each.name for each in served], gateway=gateway)


def _describe(
    relay: Relay,
    profile: str,
    recorder: Recorder | None,
    token_file: Path,
) -> RunningRelay:
    """Where the commands of one profile find it."""
    from megabot_cli.storage.run_files import RunningRelay

    return RunningRelay(
        pid=os.getpid(),
        profile=profile,
        url=relay.url_for(profile),
        tap_url=relay.tap_url,
        admin_url=relay.admin_url,
        upstream=relay.identities[profile].origin,
        upstream_path=relay.identities[profile].parts.endpoint.socket_path,
        token_file=str(token_file),
        started_at=time.time(),
        recording=str(recorder.folder) if recorder is not None else None,
        ca_file=_certificate_of(relay),
    )


def _certificate_of(relay: Relay) -> str | None:
    """The file of the certificate that clients see, for commands that are given elsewhere."""
    named = relay.settings.tls_cert_file
    if named is None or not relay.url.startswith("wss:"):
        return None
    return str(Path(named).expanduser().absolute())
