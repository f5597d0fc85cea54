"""How a command reaches MegaBot: through the relay that runs, or by a connection of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from megabot_cli.errors import CouldNotConnect, MegabotError, NotAuthenticated

if TYPE_CHECKING:
    import ssl

    import aiohttp

    from megabot_cli.client.connection import MegaBotClient
    from megabot_cli.client.credentials import Credential
    from megabot_cli.client.tokens import TokenSource
    from megabot_cli.commands.invocation import Invocation
    from megabot_cli.config.schema import ProfileSettings
    from megabot_cli.storage.run_files import RunningRelay


def known_credential(invocation: Invocation, origin: str) -> Credential | None:
    """The credential for `origin`: that of the environment, else the stored one."""
    from megabot_cli.client.credentials import Credential, jwt_expiry

    environ = invocation.environ
    if token := environ.get("MEGABOT_TOKEN"):
        return Credential("jwt", token, origin, expires_at=jwt_expiry(token))
    if key := environ.get("MEGABOT_API_KEY"):
        return Credential("api_key", key, origin)
    return invocation.credentials.load(invocation.configuration.profile_name, origin)


def variable_in_force(invocation: Invocation) -> str | None:
    """The variable that a credential comes from, before any that is stored."""
    names = ("MEGABOT_TOKEN", "MEGABOT_API_KEY")
    return next((name for name in names if invocation.environ.get(name)), None)


def is_from_environment(invocation: Invocation) -> bool:
    return variable_in_force(invocation) is not None


def ssl_for(profile: ProfileSettings) -> ssl.SSLContext | bool:
    """How this profile's upstream is judged; True is the system's way."""
    from megabot_cli.client.trust import trust

    return trust(profile.tls)


@asynccontextmanager
async def open_http(invocation: Invocation) -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP session for logging in and dialling, with the profile's trust."""
    import aiohttp

    from megabot_cli.client.dial import connector_for
    from megabot_cli.client.endpoint import parse_endpoint

    profile = invocation.configuration.profile
    if profile.tls.insecure:
        invocation.console.warn("certificates are not verified (tls.insecure)")
    connector = connector_for(parse_endpoint(profile.url), ssl_for(profile))
    async with aiohttp.ClientSession(connector=connector) as http:
        yield http


def token_source(
    invocation: Invocation,
    http: aiohttp.ClientSession,
    *,
    login: tuple[str, str] | None = None,
    profile: str | None = None,
) -> TokenSource:
    """The valid credential of the profile, refreshed when it must be; the invocation's known
    secrets hear of each.

    With `login`, a name and a password, nothing stored is read or written. `profile` names
    another than the one in force: it has what is stored for it and nothing of the environment.
    """
    tokens = _token_source(invocation, http, login, profile)
    owner = profile or invocation.configuration.profile_name
    tokens.tell_secrets(lambda secrets: invocation.known_secrets.learn(owner, secrets))
    tokens.on_unstored = lambda fault: _warn_of_unstored(invocation, owner, fault)
    return tokens


def _warn_of_unstored(invocation: Invocation, profile: str, fault: MegabotError) -> None:
    named = "" if profile == "default" else f" -p {profile}"
    invocation.console.warn(
        f"the credential was renewed and could not be stored: {fault.message}. The stored one may "
        f"be spent: {fault.hint} Then `megabot{named} login` stores a good one."
    )


def _token_source(
    invocation: Invocation,
    http: aiohttp.ClientSession,
    login: tuple[str, str] | None,
    profile: str | None,
) -> TokenSource:
    from megabot_cli.client.endpoint import parse_endpoint
    from megabot_cli.client.tokens import TokenSource

    configuration = invocation.configuration
    if profile is not None and profile != configuration.profile_name:
        other = configuration.settings.profiles[profile]
        endpoint = parse_endpoint(other.url)
        return TokenSource(
            http,
            endpoint,
            credential=invocation.credentials.load(profile, endpoint.origin),
            refresh_margin_s=other.auth.refresh_margin_s,
            store=invocation.credentials,
            profile=profile,
            ssl=ssl_for(other),
        )
    endpoint = parse_endpoint(configuration.profile.url)
    trust = ssl_for(configuration.profile)
    if login is not None:
        return TokenSource(http, endpoint, credential=None, login=login, ssl=trust)
    stored = not is_from_environment(invocation)
    return TokenSource(
        http,
        endpoint,
        credential=known_credential(invocation, endpoint.origin),
        refresh_margin_s=configuration.profile.auth.refresh_margin_s,
        store=invocation.credentials if stored else None,
        profile=configuration.profile_name,
        ssl=trust,
    )


@asynccontextmanager
async def open_client(
    invocation: Invocation,
    *,
    session: str | None = None,
    direct: bool = False,
    prepare: Callable[[MegaBotClient], None] | None = None,
    **more: Any,
) -> AsyncIterator[MegaBotClient]:
    """A connected client: through the running relay unless `direct`, else upstream.

    `prepare` gets it before it connects, to hear the first messages too. `more` goes to
    MegaBotClient. A refusal for want of a credential says how to log in.
    """
    from megabot_cli.client.connection import MegaBotClient
    from megabot_cli.client.wire_form import open_signer

    settings = invocation.configuration.settings
    profile = invocation.configuration.profile
    given: dict[str, Any] = {
        "session_id": session,
        "messages_per_second": settings.limits.messages_per_second,
        "burst": settings.limits.burst,
        "queue": settings.limits.queue,
        "max_message_bytes": settings.limits.max_message_bytes,
        "platform": profile.platform,
        "signer": open_signer(profile.integrity.key_file),
        **more,
    }
    relay = None if direct else invocation.running_relay()
    if relay is not None:
        invocation.console.detail(f"through the relay {relay.url}")
        given["ssl"] = relay_tls(relay)
        through = MegaBotClient(relay.url, api_key=client_token(Path(relay.token_file)), **given)
        if prepare is not None:
            prepare(through)
        try:
            async with through as client:
                yield client
        except MegabotError as fault:
            from megabot_cli.commands.relay_refusals import said_by_relay

            raise said_by_relay(fault, relay) from None
        return
    invocation.console.detail(f"straight to {profile.url}")
    if variable := variable_in_force(invocation):
        invocation.console.detail(f"with the credential in {variable}")
    async with open_http(invocation) as http:
        tokens = token_source(invocation, http)
        given |= {"send_in": profile.credential_in, "ssl": ssl_for(profile), "http": http}
        given |= {
            "compression": profile.compression,
            "require_signatures": profile.integrity.require,
        }
        straight = MegaBotClient(profile.url, tokens=tokens, **given)
        if prepare is not None:
            prepare(straight)
        try:
            async with straight as client:
                yield client
        except NotAuthenticated as refusal:
            hinted = with_login_hint(invocation, refusal)
            raise (hinted if direct else with_relay_hint(invocation, hinted)) from None
        except CouldNotConnect as fault:
            raise (fault if direct else with_relay_hint(invocation, fault)) from None


def relay_tls(relay: RunningRelay) -> ssl.SSLContext | bool:
    """Our own relay's certificate is trusted because we know its file, whoever signed it."""
    if relay.ca_file is None:
        return True
    import ssl

    from megabot_cli.client.trust import tls_context
    from megabot_cli.config.schema import TlsSettings

    context = tls_context(TlsSettings(ca_file=relay.ca_file))
    context.check_hostname = False
    # The file ends below the root, as what servers send does; OpenSSL would look for that.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def with_login_hint(invocation: Invocation, refusal: NotAuthenticated) -> NotAuthenticated:
    """The same refusal, saying what to type; of a variable, that no login would count; where
    there is no credential at all, that."""
    from megabot_cli.client.endpoint import parse_endpoint
    from megabot_cli.client.refusals import ASKS_LIKE_A_RELAY

    if ASKS_LIKE_A_RELAY in refusal.message:  # it says itself what helps there
        return refusal
    if variable := variable_in_force(invocation):
        return NotAuthenticated(
            refusal.message,
            f"The credential is that of {variable}: give it a good one, or unset it to use "
            "what `megabot login` stores.",
            close_code=refusal.close_code,
        )
    configuration = invocation.configuration
    name, url = configuration.profile_name, configuration.profile.url
    profile = "" if name == "default" else f" -p {name}"
    elsewhere = f" --url {url}" if configuration.url_is_for_this_run else ""
    message = refusal.message
    if known_credential(invocation, parse_endpoint(url).origin) is None:
        message = f"Profile {name!r} is not logged in at {url}"
    return NotAuthenticated(
        message,
        f"`megabot{profile} login{elsewhere}` gives profile {name!r} a credential for {url}.",
        close_code=refusal.close_code,
    )


Refusal = TypeVar("Refusal", NotAuthenticated, CouldNotConnect)


def with_relay_hint(invocation: Invocation, fault: Refusal) -> Refusal:
    """The same fault; after what to do, what would have gone through the relay that runs."""
    from megabot_cli.client.endpoint import parse_endpoint

    relay = invocation.relay_elsewhere()
    if relay is None:
        return fault
    its = relay.upstream
    if parse_endpoint(its).unix_path is None:
        its = parse_endpoint(its + relay.upstream_path).socket_url
    return type(fault)(
        fault.message,
        " ".join(filter(None, (fault.hint, f"The relay that runs is for --url {its}."))),
        retry_after_s=fault.retry_after_s,
        close_code=fault.close_code,
    )


def client_token(file: Path) -> str | None:
    """What lets our own commands in where the relay demands a token."""
    try:
        return file.read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def not_logged_in(invocation: Invocation) -> NotAuthenticated:
    """Nothing is stored for this profile at this upstream."""
    return with_login_hint(invocation, NotAuthenticated("There is no credential"))
