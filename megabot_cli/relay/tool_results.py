"""What the relay itself says upstream of tool calls: that one failed, or its result once more."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from megabot_cli.protocol.close_codes import CloseCode
from megabot_cli.protocol.envelope import peek
from megabot_cli.relay.executions import Executions
from megabot_cli.relay.kept_results import KeptResults
from megabot_cli.relay.link import Link
from megabot_cli.relay.local_client import LocalClient
from megabot_cli.relay.parts import RelayParts, notice
from megabot_cli.relay.upstream_queue import Waiting


class ToolResults:
    """Sees to it that the upstream hears of each call what became of it, and that once."""

    def __init__(
        self, parts: RelayParts, link: Link, executions: Executions, kept: KeptResults
    ) -> None:
        self._time = parts.loop.time
        self._signer = parts.signer
        self._numbers = parts.numbers
        self._witness = parts.witness
        self._link = link
        self._executions = executions
        self._kept = kept

    def give_up(self, client: LocalClient) -> None:
        """What a lost executor began may be half done: nobody begins it again, and the
        upstream hears that no result will come. One that was given back to it is a result."""
        for execution_id in self._executions.left(client.name):
            self._numbers.tool_results["left"] += 1
            result = self._kept.result_of(execution_id)
            if result is None:
                result = self._failed(client.name, execution_id, _why_no_result(client))
            result = msgspec.structs.replace(result, at=self._time())
            self._kept.keep(execution_id, result)
            self._say(execution_id, result)

    def give_up_all(self, clients: Iterable[LocalClient]) -> None:
        for client in clients:
            self.give_up(client)

    def asked_again(self, execution_id: str) -> bool:
        """Whether a call that comes has been answered before. Where that answer may have been
        lost with the link it is given again, for nobody carries the call out twice."""
        lost = self._kept.may_be_lost(execution_id)
        if not lost and not self._executions.answered(execution_id):
            return False
        if lost:
            self._executions.settle(execution_id)
            result = self._kept.result_of(execution_id)
            if result is None:
                text = "it was carried out and answered; the result is not kept any more"
                result = self._failed("", execution_id, text)
            self._numbers.tool_results["given_again"] += 1
            self._say(execution_id, msgspec.structs.replace(result, at=self._time()))
        return True

    def _failed(self, client: str, execution_id: str, output: str) -> Waiting:
        payload: dict[str, object] = {
            "execution_id": execution_id,
            "status": "failed",
            "output": output,
        }
        text = notice("tool_result", payload, session_id=self._link.life.session_id)
        if self._signer is not None:
            text = self._signer.sign(text)
        return Waiting(client, None, text, False, self._time(), urgent=True)

    def _say(self, execution_id: str, result: Waiting) -> None:
        self._witness.message(
            "to_upstream",
            result.data,
            peek(result.data),
            link=self._link.id,
            session=self._link.life.session_id,
            binary=result.binary,
            kind="inject",
        )
        if self._link.write_now(result):
            self._kept.written(execution_id)
        elif self._link.submit(result) is None:
            self._kept.unwritten(execution_id)
        else:
            self._kept.missed(execution_id)


def _why_no_result(client: LocalClient) -> str:
    if client.close_sent is None:
        return "the client that carried this out left before it answered"
    if client.close_sent == CloseCode.SERVICE_RESTART:
        return "the relay stopped before the client that carries this out had answered"
    return "the relay let go of the client that carries this out before it had answered"
