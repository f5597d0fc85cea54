"""`megabot login`: prove who you are, and keep the credential."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.tree import examples, forms, takes_no_more
from megabot_cli.errors import NotAuthenticated, UpstreamRefused, WrongUsage

if TYPE_CHECKING:
    import aiohttp

    from megabot_cli.client.credentials import Credential
    from megabot_cli.client.dial import Greeting
    from megabot_cli.client.endpoint import Endpoint

Storage = Literal["auto", "keyring", "file", "none"]


@dataclass(frozen=True)
class Proof:
    """What the person gave: a name and a password, or an API key. The repr shows neither."""

    username: str | None
    secret: str

    def __repr__(self) -> str:
        return f"Proof(username={self.username!r})"


@forms("text", "json")
@examples(
    ("megabot login", "Asks for name and password"),
    ("pass show megabot | megabot login --username ann --password-stdin", "In a script"),
    ("megabot login -p staging --url wss://staging.example/ws", "At another upstream"),
    ("megabot login --api-key-stdin < key.txt", "With an API key"),
)
@takes_no_more("Who you are is said with `megabot login --username NAME`.")
def login(
    context: typer.Context,
    username: Annotated[
        str | None, typer.Option("--username", metavar="NAME", help="Who you are.")
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from stdin.")
    ] = False,
    api_key_stdin: Annotated[
        bool, typer.Option("--api-key-stdin", help="Read an API key from stdin instead.")
    ] = False,
    storage: Annotated[
        Storage, typer.Option("--storage", help="Where the credential is kept.")
    ] = "auto",
    no_store: Annotated[
        bool, typer.Option("--no-store", help="Only check it; short for --storage none.")
    ] = False,
) -> None:
    """Prove who you are and keep the credential.

    Asks on a terminal for what is missing; secrets never stand in the command line. The
    credential is checked by connecting, then kept in the system's keyring or in a file that
    only you can read, bound to the upstream it was given for.
    """
    from megabot_cli.commands.running import run

    invocation: Invocation = context.obj
    if password_stdin and api_key_stdin:
        raise WrongUsage(
            "--password-stdin and --api-key-stdin exclude each other", "Give one of them."
        )
    if no_store and storage == "keyring":
        raise WrongUsage("--no-store and --storage keyring exclude each other", "Give one of them.")
    if invocation.may_ask:  # who types a password should know for whom
        name, url = invocation.configuration.profile_name, invocation.configuration.profile.url
        invocation.console.note(f"To log in at {url}, as profile {name!r}")
    proof = _read_proof(
        invocation, username, password_stdin=password_stdin, api_key_stdin=api_key_stdin
    )
    credential, greeting = run(_check(invocation, proof))
    kept = None if no_store or storage == "none" else _keep(invocation, credential, storage)
    _report(invocation, credential, greeting, kept)


def _read_proof(
    invocation: Invocation, username: str | None, *, password_stdin: bool, api_key_stdin: bool
) -> Proof:
    from megabot_cli.terminal import stdin

    if api_key_stdin:
        question = "API key: " if invocation.may_ask else None
        return Proof(None, stdin.read_secret("--api-key-stdin", question))
    name = username or invocation.configuration.profile.username
    may_ask = invocation.may_ask
    if name is None and (password_stdin or not may_ask):
        raise _missing("user name", "--username NAME")
    if not password_stdin and not may_ask:
        raise _missing("password", "--password-stdin or --api-key-stdin")
    if name is None:
        name = stdin.ask("User name: ")
    question = f"Password of {name}: "
    if password_stdin:
        return Proof(name, stdin.read_secret("--password-stdin", question if may_ask else None))
    return Proof(name, stdin.ask_secret(question))


def _missing(what: str, flag: str) -> WrongUsage:
    return WrongUsage(f"There is no {what}, and nobody to ask for it", f"Give it with {flag}.")


async def _check(invocation: Invocation, proof: Proof) -> tuple[Credential, Greeting | None]:
    """Get the credential and try it: one that does not connect is not worth keeping."""
    from megabot_cli.client.credentials import Credential
    from megabot_cli.client.dial import dial, hang_up
    from megabot_cli.client.endpoint import parse_endpoint
    from megabot_cli.client.tokens import login as get_token
    from megabot_cli.commands.upstream import open_http

    profile = invocation.configuration.profile
    endpoint = parse_endpoint(profile.url)
    async with open_http(invocation) as http:
        if proof.username is None:
            credential = Credential("api_key", proof.secret, endpoint.origin)
        else:
            try:
                credential = await get_token(http, endpoint, proof.username, proof.secret)
            except UpstreamRefused as refusal:
                raise await _told_of_a_relay(http, endpoint, refusal) from None
        with _told_of_a_key() if proof.username is None else contextlib.nullcontext():
            dialed = await dial(
                http,
                endpoint,
                credential,
                platform=profile.platform,
                send_in=profile.credential_in,
                dialect=profile.dialect,
            )
        await hang_up(dialed.socket)
    return credential, dialed.greeting


async def _told_of_a_relay(
    http: aiohttp.ClientSession, endpoint: Endpoint, refusal: UpstreamRefused
) -> UpstreamRefused:
    """A relay takes no login: who tries one there need not look for a fault in the url."""
    from megabot_cli.doctor.relay import is_relay

    if not await is_relay(http, endpoint):
        return refusal
    return UpstreamRefused(
        f"No login is possible at {endpoint.address}: a relay listens there, and logs in itself",
        f"None is needed: `megabot send --url {endpoint.socket_url} …`",
    )


@contextlib.contextmanager
def _told_of_a_key() -> Iterator[None]:
    """Who is refused here need not be told to log in."""
    from megabot_cli.client.refusals import ASKS_LIKE_A_RELAY

    try:
        yield
    except NotAuthenticated as refusal:
        if ASKS_LIKE_A_RELAY in refusal.message:  # it says itself what helps there
            raise
        raise NotAuthenticated(
            refusal.message, "Check the key.", close_code=refusal.close_code
        ) from None


def _keep(invocation: Invocation, credential: Credential, storage: Storage) -> str:
    from megabot_cli.commands.remembered import remember_url

    store = invocation.open_credentials(storage)
    profile = invocation.configuration.profile_name
    store.save(profile, credential)
    if _remembered(invocation):
        remember_url(invocation.places.logins, profile, invocation.configuration.profile.url)
    return store.where(profile) or storage


def _remembered(invocation: Invocation) -> bool:
    """Whether the address of a login counts later: a configuration file outranks it."""
    configuration = invocation.configuration
    path = ("profiles", configuration.profile_name, "url")
    layers = [given.source.layer for given in configuration.history[path]]
    return "profile" not in layers or layers[-1] == "profile"


def _report(
    invocation: Invocation, credential: Credential, greeting: Greeting | None, kept: str | None
) -> None:
    from megabot_cli.commands.upstream import variable_in_force
    from megabot_cli.terminal.text import safe_line

    configuration = invocation.configuration
    user_id = credential.user_id or (greeting.user_id if greeting else None)
    if invocation.output == "json":
        facts = {
            "profile": configuration.profile_name,
            "url": configuration.profile.url,
            "username": credential.username,
            "user_id": user_id,
            "stored": kept,
        }
        invocation.console.json(facts)
        return
    who = safe_line(credential.username or user_id or "the API key's owner")
    where = f"The credential is kept in {kept}." if kept else "The credential was not kept."
    invocation.console.note(f"Logged in as {who} at {configuration.profile.url}. {where}")
    if variable := variable_in_force(invocation):
        invocation.console.warn(f"{variable} is set: its credential is used, not this one")
    if not _remembered(invocation):
        path = ("profiles", configuration.profile_name, "url")
        source = configuration.history[path][-1].source
        invocation.console.note(
            f"The configuration file gives profile {configuration.profile_name!r} another "
            f"address: without {source.place or source.layer}, that is used."
        )
