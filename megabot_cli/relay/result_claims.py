"""Results of tool calls on their way up: of each call one goes, and what becomes of it is known."""

from __future__ import annotations

from megabot_cli.relay.executions import REFUSALS, Claim, Executions
from megabot_cli.relay.kept_results import KeptResults
from megabot_cli.relay.local_client import LocalClient
from megabot_cli.relay.payloads import read_keys
from megabot_cli.relay.unfolding import Unfolding
from megabot_cli.relay.upstream_queue import Waiting
from megabot_cli.relay.voice import Voice
from megabot_cli.telemetry.metrics import RelayNumbers


class ResultClaims:
    """Clients' results, as the way up sees them. What is no result is nobody's business here."""

    def __init__(
        self,
        executions: Executions,
        kept: KeptResults,
        unfold: Unfolding,
        voice: Voice,
        numbers: RelayNumbers,
    ) -> None:
        self._executions = executions
        self._kept = kept
        self._unfold = unfold
        self._voice = voice
        self._numbers = numbers

    def may_go(self, client: LocalClient, result: Waiting) -> bool:
        """Whether this is the client's to give, and the first; else it has heard why not."""
        execution_id = self._named_by(result)
        if execution_id is None:
            return True
        claim = self._executions.claim(execution_id, client.name)
        self._numbers.tool_results[claim.value] += 1
        refusal = REFUSALS.get(claim)
        if refusal is None:
            if claim is Claim.FIRST:
                self._kept.keep(execution_id, result)
            return True
        self._voice.refuse(client, result.message_id, 409, *refusal)
        return False

    def written(self, waiting: Waiting) -> None:
        """It leaves with this turn of the event loop."""
        if waiting.urgent and (execution_id := self._named_by(waiting)) is not None:
            self._kept.written(execution_id)

    def unwritten(self, waiting: Waiting) -> None:
        """The link fell in that turn: it waits again."""
        if waiting.urgent and (execution_id := self._named_by(waiting)) is not None:
            self._kept.unwritten(execution_id)

    def missed(self, waiting: Waiting) -> None:
        """A result does not go up: it is there for an upstream that asks again."""
        if waiting.urgent and (execution_id := self._named_by(waiting)) is not None:
            self._kept.missed(execution_id)

    def give_back(self, waiting: Waiting) -> None:
        """One that does not go up has answered nothing: its client may try again."""
        execution_id = self._named_by(waiting) if waiting.urgent else None
        if execution_id is not None and self._executions.give_back(execution_id):
            self._numbers.tool_results["given_back"] += 1

    def _named_by(self, result: Waiting) -> str | None:
        return read_keys(self._unfold.text(result.data, result.binary)).execution_id
