"""Which flag of which command sets a setting; a test compares this with the commands."""

from __future__ import annotations

RELAY = "megabot relay"
GATEWAY = "megabot gateway"

# Setting → (flag, command). The global ones stand before or after any command.
FLAGS: dict[str, tuple[tuple[str, str], ...]] = {
    "profile": (("--profile", "megabot"),),
    "profiles.*.url": (
        ("--url", "megabot"),
        ("--upstream", RELAY),
        ("--gateway", RELAY),
        ("--to", "megabot replay"),
    ),
    "profiles.*.tls.insecure": (("--tls-insecure", RELAY),),
    "relay.listen": (("--listen", RELAY),),
    "relay.admin_listen": (("--admin-listen", RELAY),),
    "relay.also": (("--also", RELAY),),
    "relay.mode": (("--mode", RELAY),),
    "relay.flight_recorder_s": (("--ring", RELAY),),
    "relay.flight_recorder_trigger": (("--trigger", RELAY),),
    "relay.echo": (("--echo", RELAY),),
    "relay.allowed_origins": (("--allow-origin", RELAY),),
    "relay.require_token": (("--require-token", RELAY),),
    "relay.insecure_remote": (("--insecure-remote", RELAY),),
    "recording.enabled": (("--no-record", RELAY),),
    "recording.folder": (("--record", RELAY),),
    "limits.messages_per_second": (("--rate-limit", RELAY),),
    "gateway.listen": (("--listen", GATEWAY), ("--listen", "megabot replay")),
    "gateway.dialect": (("--dialect", GATEWAY),),
    "gateway.chunk_delay_s": (("--chunk-delay", GATEWAY),),
    "gateway.latency_s": (("--latency", GATEWAY),),
    "gateway.scenario": (("--scenario", GATEWAY),),
    "gateway.assistant": (("--assistant", GATEWAY),),
    "gateway.assistant_model": (("--model", GATEWAY),),
}


def flags_of(setting: str) -> list[str]:
    """The flags as one types them: `megabot relay --listen`."""
    return [f"{command} {flag}" for flag, command in FLAGS.get(setting, ())]
