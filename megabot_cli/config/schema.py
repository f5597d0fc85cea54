"""Every setting: its name, type, bounds, default and meaning, once.

Validation, `config show`, the JSON Schema, the man page and the tests read these.
Durations end in `_s` (seconds), sizes in `_bytes`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all sections: values are fixed once read, and a misspelt key is an error."""


Positive = Annotated[float, Meta(gt=0)]
# As a browser sends it: a bare host would never be one.
# Not `null`: any page can be made to send that.
Origin = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*://[^/\s]+/?$")]
NotNegative = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=0)]
Dialect = Literal["megabot", "flat"]


class AuthSettings(Section, frozen=True):
    """How a profile proves who it is."""

    send_in: Annotated[
        Literal["header", "query"],
        Meta(description="Where the credential travels. URLs end up in logs: prefer header."),
    ] = "header"
    refresh_margin_s: Annotated[
        NotNegative,
        Meta(
            description="Refresh a token this long before it expires, or at a tenth of its "
            "lifetime when that is less."
        ),
    ] = 60.0


class TlsSettings(Section, frozen=True):
    """Transport security towards the upstream."""

    ca_file: Annotated[
        str | None, Meta(description="Trust these certificates instead of the system's.")
    ] = None
    insecure: Annotated[
        bool, Meta(description="Do not verify certificates. Warned about at every start.")
    ] = False
    fingerprint: Annotated[
        str | None,
        Meta(
            description="Accept this certificate alone: its SHA-256, as openssl prints it. "
            "Without ca_file nobody need have signed it."
        ),
    ] = None
    client_cert_file: Annotated[
        str | None, Meta(description="Show this certificate (PEM) where one is asked for.")
    ] = None
    client_key_file: Annotated[
        str | None, Meta(description="Its key (PEM), where that is a file of its own.")
    ] = None


class IntegritySettings(Section, frozen=True):
    """Signed messages: `metadata.signature` over id, type, timestamp and payload."""

    key_file: Annotated[
        str | None,
        Meta(description="Sign with the key in this file (16 bytes or more, mode 0600)."),
    ] = None
    require: Annotated[bool, Meta(description="Refuse what arrives without a good signature.")] = (
        False
    )


class ProfileSettings(Section, frozen=True):
    """One upstream and how to reach it."""

    url: Annotated[
        str, Meta(description="The MegaBot endpoint: ws://, wss://, http:// or https://.")
    ] = "ws://127.0.0.1:3000/ws"
    dialect: Annotated[
        Dialect,
        Meta(description="What the upstream speaks: envelopes, or flat JSON with a static token."),
    ] = "megabot"
    username: Annotated[str | None, Meta(description="Whom `login` asks the password of.")] = None
    platform: Annotated[str, Meta(description="Sent as `platform` when connecting.")] = "cli"
    compression: Annotated[
        Literal["deflate", "gzip", "none"],
        Meta(
            description="permessage-deflate; gzip of long messages, for which the relay, who reads "
            "them, takes deflate; or neither."
        ),
    ] = "deflate"
    auth: AuthSettings = AuthSettings()
    tls: TlsSettings = TlsSettings()
    integrity: IntegritySettings = IntegritySettings()

    @property
    def credential_in(self) -> Literal["header", "query"]:
        """Where the credential travels; the flat dialect knows only the query."""
        return "query" if self.dialect == "flat" else self.auth.send_in


class LimitSettings(Section, frozen=True):
    """The specification's limits, kept by whatever sends."""

    messages_per_second: Annotated[
        NotNegative, Meta(description="Messages a second to the upstream; 0 is no limit.")
    ] = 10.0
    burst: Annotated[Positive, Meta(description="Messages that may leave at once.")] = 10.0
    queue: Annotated[
        Count, Meta(description="Messages of one client that may wait for the rate limit.")
    ] = 100
    max_message_bytes: Annotated[
        Count, Meta(description="The longest message, in bytes of UTF-8; 0 is no limit.")
    ] = 1024 * 1024


class OutboxSettings(Section, frozen=True):
    """What may wait for one client that reads slowly."""

    messages: Annotated[int, Meta(ge=1, description="Messages that may wait.")] = 1000
    bytes: Annotated[int, Meta(ge=1, description="Bytes that may wait.")] = 4 * 1024 * 1024
    stall_s: Annotated[
        Positive, Meta(description="A client that takes nothing for this long is closed (4008).")
    ] = 10.0


class RecordingSettings(Section, frozen=True):
    """What the relay keeps of the traffic."""

    enabled: Annotated[bool, Meta(description="Record everything that passes, redacted.")] = True
    folder: Annotated[
        str | None, Meta(description="Where recordings go; default: the data folder of the user.")
    ] = None
    flush_s: Annotated[
        Positive, Meta(le=1, description="A record is on disk this long after it passed.")
    ] = 0.1
    fsync: Annotated[
        Literal["never", "interval", "always"],
        Meta(description="When the disk is told to keep what was written."),
    ] = "interval"
    fsync_interval_s: Annotated[Positive, Meta(description="For fsync: interval.")] = 1.0
    segment_bytes: Annotated[
        int, Meta(ge=4096, description="A segment this long is sealed and the next begun.")
    ] = 256 * 1024 * 1024
    segment_age_s: Annotated[Positive, Meta(description="As segment_bytes, by age.")] = 3600.0
    compress: Annotated[
        Literal["none", "zstd"], Meta(description="What becomes of a segment once it is sealed.")
    ] = "none"
    keep_days: Annotated[
        Positive | None,
        Meta(description="Sealed segments older than this are removed; else none is."),
    ] = None
    keep_bytes: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="When all segments take more, the oldest sealed ones are removed."),
    ] = None
    queue_records: Annotated[
        int, Meta(ge=1, description="Records that may wait for the writer.")
    ] = 100_000
    queue_bytes: Annotated[int, Meta(ge=1, description="Bytes that may wait for the writer.")] = (
        64 * 1024 * 1024
    )
    writer: Annotated[
        Literal["auto", "process", "thread"],
        Meta(description="Who redacts and writes; auto is a process where there are two cores."),
    ] = "auto"
    on_pressure: Annotated[
        Literal["block", "gap"],
        Meta(
            description="When the writer cannot keep up: slow the traffic and lose nothing, "
            "or drop records and say how many."
        ),
    ] = "block"
    on_disk_full: Annotated[
        Literal["stop_recording", "stop_relay"],
        Meta(description="When nothing more can be written; a reload begins another recording."),
    ] = "stop_recording"
    redact_keys: Annotated[
        list[str], Meta(description="More payload keys whose values are never written.")
    ] = []
    redact_patterns: Annotated[
        list[str], Meta(description="More regular expressions; what they match is never written.")
    ] = []


class RelaySettings(Section, frozen=True):
    """The relay: where it listens, how it shares links."""

    listen: Annotated[str, Meta(description="Where clients connect: HOST:PORT, or unix:PATH.")] = (
        "127.0.0.1:3100"
    )
    admin_listen: Annotated[
        str,
        Meta(description="Where /healthz, /readyz and /metrics are: HOST:PORT, or unix:PATH."),
    ] = "127.0.0.1:3101"
    mode: Annotated[
        Literal["session", "dedicated", "shared"],
        Meta(
            description="session: one link per session, shared by its clients; dedicated: one "
            "link per client, transparent; shared: one link for all, answers go to the asker."
        ),
    ] = "session"
    also: Annotated[
        list[str],
        Meta(description="Serve these profiles too; clients name one by /ws?profile=NAME."),
    ] = []
    require_token: Annotated[
        bool, Meta(description="Demand the client token from every local program.")
    ] = False
    allowed_origins: Annotated[
        list[Origin],
        Meta(description="Pages that may connect, such as http://localhost:5173."),
    ] = []
    allowed_hosts: Annotated[
        list[str], Meta(description="Host names, beside loopback's, that requests may carry.")
    ] = []
    insecure_remote: Annotated[
        bool, Meta(description="Listen beyond this machine without TLS. Warned at every start.")
    ] = False
    linger_s: Annotated[
        NotNegative, Meta(description="A link outlives its last client this long.")
    ] = 300.0
    linger_links: Annotated[
        int,
        Meta(
            ge=0,
            description="So many links without a client are kept; beyond that the one that was "
            "left first goes.",
        ),
    ] = 32
    validation: Annotated[
        Literal["off", "warn", "strict"],
        Meta(description="Messages that break the specification: ignore, count, or refuse."),
    ] = "warn"
    echo: Annotated[
        bool, Meta(description="Show clients of a session what their fellows send.")
    ] = False
    heartbeat_s: Annotated[Positive, Meta(description="Ping clients and upstream this often.")] = (
        25.0
    )
    dial_timeout_s: Annotated[
        Positive, Meta(description="For TCP, TLS, upgrade and greeting together.")
    ] = 10.0
    wait_messages: Annotated[
        Count, Meta(description="Messages of clients that may wait while a link is down.")
    ] = 100
    wait_bytes: Annotated[Count, Meta(description="As wait_messages, in bytes.")] = 1024 * 1024
    wait_s: Annotated[
        NotNegative, Meta(description="How long they may wait before 503 is the answer.")
    ] = 30.0
    ring_messages: Annotated[
        int, Meta(ge=1, description="Messages a session keeps for clients that come back.")
    ] = 1000
    ring_bytes: Annotated[int, Meta(ge=1, description="As ring_messages, in bytes.")] = (
        8 * 1024 * 1024
    )
    ring_age_s: Annotated[Positive, Meta(description="As ring_messages, by age.")] = 600.0
    batching: Annotated[
        bool,
        Meta(
            description="Send what waits for the rate limit as a batch of up to ten; "
            "each message in it counts. None where the profile signs."
        ),
    ] = False
    flight_recorder_s: Annotated[
        NotNegative,
        Meta(description="Keep what passed in so many seconds in memory, for `relay dump`."),
    ] = 0.0
    flight_recorder_bytes: Annotated[
        int, Meta(ge=1024, description="The most memory that may take.")
    ] = 64 * 1024 * 1024
    flight_recorder_trigger: Annotated[
        str | None,
        Meta(description="Write it when a record comes of which this holds: CEL, as for --where."),
    ] = None
    tls_cert_file: Annotated[
        str | None, Meta(description="Serve clients over TCP with this certificate (PEM, chain).")
    ] = None
    tls_key_file: Annotated[
        str | None, Meta(description="The key of tls_cert_file, where it stands apart.")
    ] = None
    header_deadline_s: Annotated[
        Positive, Meta(description="A connection that has sent no whole request by then is cut.")
    ] = 10.0
    max_unknown: Annotated[
        int, Meta(ge=1, description="Connections without a whole request; the oldest goes.")
    ] = 32
    max_clients: Annotated[
        int, Meta(ge=1, description="Clients at once, of all profiles together.")
    ] = 256
    max_clients_per_session: Annotated[
        int,
        Meta(
            ge=1,
            description="Clients on one session, in mode session; in the others max_clients alone "
            "bounds them.",
        ),
    ] = 64
    drain_s: Annotated[
        NotNegative,
        Meta(
            description="How long work under way may take when stopping. In the last second of "
            "it, or the last quarter, new messages are refused with 503."
        ),
    ] = 10.0
    outbox: OutboxSettings = OutboxSettings()


class GatewaySettings(Section, frozen=True):
    """MegaBot on this machine."""

    listen: Annotated[str, Meta(description="HOST:PORT.")] = "127.0.0.1:3000"
    dialect: Annotated[
        Dialect, Meta(description="What it speaks: envelopes, or flat JSON with a static token.")
    ] = "megabot"
    token_lifetime_s: Annotated[Positive, Meta(description="How long a login lasts.")] = 3600.0
    chunk_delay_s: Annotated[
        NotNegative, Meta(description="The assistant's pause between two chunks.")
    ] = 0.03
    latency_s: Annotated[
        NotNegative, Meta(description="The assistant's pause before the first chunk.")
    ] = 0.05
    session_lifetime_s: Annotated[
        Positive, Meta(description="A session nobody uses is forgotten after this.")
    ] = 3600.0
    allowed_origins: Annotated[
        list[Origin],
        Meta(description="Pages beyond this machine that may log in, such as https://app.example."),
    ] = []
    header_deadline_s: Annotated[
        Positive, Meta(description="A connection that has sent no whole request by then is cut.")
    ] = 10.0
    max_unknown: Annotated[
        int, Meta(ge=1, description="Connections without a whole request; the oldest goes.")
    ] = 32
    assistant: Annotated[
        str, Meta(description="Who answers: echo, markov, openai:URL or command:CMD.")
    ] = "echo"
    assistant_model: Annotated[str, Meta(description="The model's name, for openai:URL.")] = (
        "default"
    )
    assistant_seed: Annotated[int, Meta(description="For markov: another seed, other answers.")] = 1
    assistant_silence_s: Annotated[
        Positive, Meta(description="So long openai: and command: may say nothing.")
    ] = 60.0
    scenario: Annotated[
        str | None,
        Meta(description="Scripted answers and faults: a file, or the name of a shipped one."),
    ] = None
    integrity: IntegritySettings = IntegritySettings()


class Settings(Section, frozen=True):
    """The whole configuration file."""

    profile: Annotated[str, Meta(description="The profile used when none is named.")] = "default"
    profiles: dict[str, ProfileSettings] = {}
    limits: LimitSettings = LimitSettings()
    relay: RelaySettings = RelaySettings()
    recording: RecordingSettings = RecordingSettings()
    gateway: GatewaySettings = GatewaySettings()

    def named_profile(self, name: str) -> ProfileSettings | None:
        """The profile called `name`; `default` exists even when no file names it."""
        return self.profiles.get(name) or (ProfileSettings() if name == "default" else None)
