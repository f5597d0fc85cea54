"""What was opened before a recording began: told at its beginning, as it is when it comes, so that
the recording knows whose all is that follows."""

from __future__ import annotations

from collections.abc import Iterable

from megabot_cli.protocol.envelope import peek
from megabot_cli.relay.identity import Identity
from megabot_cli.relay.session import Session
from megabot_cli.relay.witness import Witness
from megabot_cli.storage.recorder import Recorder

NOTE = "open before the recording began"


def tell_what_is_open(recorder: Recorder, identities: Iterable[Identity], witness: Witness) -> None:
    """The links that are up, with the greeting that came, and the clients; to nobody else."""
    for identity in identities:
        for session in identity.sessions:
            _tell_session(recorder, session, identity.parts.label)
        is_flat = identity.parts.profile.dialect == "flat"
        for pair in identity.pairs:
            greeting = pair.greeting
            if is_flat and greeting is None and pair.received:
                continue  # the next message would pass for its greeting
            recorder.put(
                "open",
                client=pair.client_id,
                link=pair.link_id,
                session=pair.session_id,
                user=witness.user_of(pair.link_id),
                note=NOTE,
            )
            if greeting is not None:
                recorder.keep_message(
                    "to_client",
                    greeting,
                    peek(greeting),
                    pair.link_id,
                    pair.session_id,
                    pair.client_id,
                )


def _tell_session(recorder: Recorder, session: Session, label: str) -> None:
    link, name, greeting = session.link.id, session.session_id, session.greeting
    if session.link.up and greeting is not None:
        note = ", ".join(filter(None, (NOTE, label)))
        recorder.put("open", link=link, session=name, user=greeting.user_id, note=note)
        text = greeting.text.encode()
        recorder.keep_message("to_client", text, peek(text), link, name)
    for client in session.clients.values():
        recorder.put("open", client=client.id, link=link, session=name, note=NOTE)
