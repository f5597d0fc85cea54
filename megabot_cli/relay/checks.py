"""Whether a client's message may go up."""

from __future__ import annotations

import msgspec

from megabot_cli.config.schema import LimitSettings, RelaySettings
from megabot_cli.protocol.envelope import Head
from megabot_cli.protocol.messages import MESSAGE_TYPES
from megabot_cli.protocol.validation import Problem, ValidMessage, check, valid
from megabot_cli.relay.corner import MOST_IN_A_BATCH
from megabot_cli.relay.routing import MOST_ID
from megabot_cli.relay.unfolding import Overgrown, Unfolding
from megabot_cli.telemetry.metrics import RelayNumbers

# A message may be a mebibyte of nothing but an id. Shorter ones need no look at it: what is
# remembered of them is little.
LONG_BYTES = 8 * 1024
_NOT_TEXT = Problem("$", "text", "binary", "messages are text")


class Objection(msgspec.Struct, frozen=True):
    """Why a message is refused: the code and word for its sender, and a sentence."""

    code: int
    error: str
    message: str


BEYOND = Objection(
    400,
    "invalid_message",
    f"a batch holds at most {MOST_IN_A_BATCH} messages, and no batch within a batch of it",
)


NO_MORE = Objection(503, "upstream_unavailable", "not delivered: the relay is stopping")
CUT_SHORT = Objection(
    503,
    "upstream_unavailable",
    "not delivered: the rate limit still held it when the connection ended",
)


def delivery_unknown(why: str) -> Objection:
    """What is said of a request that went up and whose answer nobody will pass on."""
    text = f"sent, but {why} before an answer came; it may have arrived"
    return Objection(503, "delivery_unknown", text)


def name_of(head: Head | None) -> str | None:
    """The id by which a message is refused; None without one, or with a very long one."""
    name = head.id if head is not None else None
    return name if name is None or len(name) <= MOST_ID else None


def begins_something(head: Head | None) -> bool:
    """Whether a message of a pair is an envelope that asks for something: a relay that stops takes
    no such one. What has no id, or is of another dialect, nobody could be told of."""
    return head is not None and head.id is not None and head.type not in (None, "tool_result")


def head_of(message: ValidMessage) -> Head:
    """What `peek` would have seen of it."""
    return Head(message.id, message.type, message.metadata)


class Checks:
    """The size limit, and the specification's rules as strictly as the settings say."""

    def __init__(
        self, settings: RelaySettings, limits: LimitSettings, numbers: RelayNumbers
    ) -> None:
        self._mode = settings.validation
        self._limit = limits.max_message_bytes
        self._numbers = numbers
        self._most_bytes = min(self._limit or LONG_BYTES, LONG_BYTES)
        self._knows_types = True  # whether the last one that was judged had one that is known

    def clear(self, data: bytes) -> ValidMessage | None:
        """A text that may go and in which nothing is wrong, read once for both; None: nobody has
        said anything yet, `judge` it."""
        if self._mode == "off" or not self._knows_types or len(data) > self._most_bytes:
            return None
        return valid(data)

    def judge_binary(self, data: bytes, head: Head | None, unfold: Unfolding) -> Objection | None:
        """As `judge`: of gzip the text within is judged."""
        if isinstance(head, Overgrown):
            text = f"uncompressed, the message has more than {head.most_bytes} bytes"
            return Objection(413, "message_too_large", text)
        within = unfold.text(data, binary=True)
        return self.judge(within or data, head, binary=not within)

    def judge(self, data: bytes, head: Head | None, *, binary: bool) -> Objection | None:
        """None: it may go. In mode `warn` what breaks the rules is counted and goes."""
        if self._limit and len(data) > self._limit:
            text = f"the message has {len(data)} bytes; at most {self._limit} may be sent"
            return Objection(413, "message_too_large", text)
        if len(data) > LONG_BYTES and head is not None and len(head.id or "") > MOST_ID:
            text = f"the id has {len(head.id or '')} characters; at most {MOST_ID} may be sent"
            return Objection(400, "invalid_message", text)
        mode = self._mode
        if mode == "off" or (mode == "warn" and binary):
            return None
        kind = head.type if head is not None else None
        self._knows_types = kind in MESSAGE_TYPES
        problem = check(data, max_bytes=0, kind=kind) if not binary else _NOT_TEXT
        if problem is None:
            return None
        self._numbers.invalid_to_upstream += 1
        if mode == "warn":
            return None
        return Objection(problem.code, "invalid_message", str(problem))


class LastChecks(Checks):
    """Of a relay that stops: what would begin something goes no more. The results of tool calls
    still do, and a batch may hold some."""

    def clear(self, data: bytes) -> None:
        """Valid is not enough."""

    def judge(self, data: bytes, head: Head | None, *, binary: bool) -> Objection | None:
        if head is None or head.type not in ("tool_result", "batch"):
            return NO_MORE
        return super().judge(data, head, binary=binary)


class LastChecksOfPair(Checks):
    """The same for a pair, through which anything may pass: only what can be answered by id is
    refused, and a batch is left for who looks into it."""

    def clear(self, data: bytes) -> None:
        """Valid is not enough."""

    def judge(self, data: bytes, head: Head | None, *, binary: bool) -> Objection | None:
        if begins_something(head) and head is not None and head.type != "batch":
            return NO_MORE
        return super().judge(data, head, binary=binary)
