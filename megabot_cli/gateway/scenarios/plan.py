"""Which rule an event is for, and what is to be done. No socket, no clock, no chance of its own.

An event goes in, a `Part` comes out: the steps of the first rule that matches. All chance is
drawn from `chance`, by a name that says where (rule, how manieth time, step), so that other
events in between change nothing: the same scenario and seed give the same parts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from megabot_cli.gateway.scenarios.declaration import Rule, Scenario, Step, When, Word
from megabot_cli.recording.expression import Expression
from megabot_cli.recording.regular import compiled

Chance = Callable[[str], float]  # a name → 0 ≤ x < 1, the same each time

MOST_COUNTS = 20_000  # of users, sessions and connections; the longest unused are forgotten


class Event(msgspec.Struct, frozen=True):
    """Something happened. `connection` is 0 where there is none yet."""

    when: When
    user: str = ""
    session: str = ""
    connection: int = 0
    id: str = ""
    type: str = ""
    text: str = ""
    message: Callable[[], Mapping[str, Any]] = dict  # payload and metadata, for who asks


class Part(msgspec.Struct, frozen=True):
    """What is to be done about an event: `steps` in order, `values` to fill in.

    `draw` gives the share of a range for the step of that number.
    """

    rule: str
    steps: tuple[Word | Step, ...]
    values: dict[str, Any]
    draw: Callable[[str], float]

    def seconds(self, span: float | list[float], name: str) -> float:
        """A duration, or one out of a range of them."""
        if isinstance(span, list):
            low, high = span
            return low + (high - low) * self.draw(name)
        return span


class Plan:
    """One scenario under way: it counts, and nothing else."""

    def __init__(self, scenario: Scenario, chance: Chance) -> None:
        self.scenario = scenario
        rules = [_Rule(index, rule, chance) for index, rule in enumerate(scenario.rules)]
        self._rules: dict[str, list[_Rule]] = {}
        for rule in rules:
            self._rules.setdefault(rule.said.when, []).append(rule)

    def concerns(self, when: When) -> bool:
        """Whether any rule is for such events; where none is, nobody need ask."""
        return when in self._rules

    def part(self, event: Event) -> Part | None:
        """What is to be done, or None when all is as usual."""
        for rule in self._rules.get(event.when, ()):
            part = rule.part(event)
            if part is not None:
                return part
        return None


class _Rule:
    def __init__(self, index: int, said: Rule, chance: Chance) -> None:
        self.said = said
        self._index = index
        self._chance = chance
        self._scopes: OrderedDict[str | int, _Count] = OrderedDict()
        self._seen = 0
        match = said.match
        self._regex = compiled(match.regex) if match.regex else None
        self._text = match.text.casefold() if match.text else None
        self._where = Expression(match.where) if match.where else None

    def part(self, event: Event) -> Part | None:
        if not self._is_for(event):
            return None
        count = self._count(self._scope(event))
        nth = count.events
        drawn_from = f"{self._index}/{count.ordinal}/{nth}"
        if not self._is_the_time(event, nth, drawn_from):
            return None
        return Part(
            self.said.name or f"rule {self._index + 1}",
            tuple(self.said.steps),
            {
                "id": event.id,
                "type": event.type,
                "text": event.text,
                "session": event.session,
                "user": event.user,
                "nth": nth,
            },
            lambda name: self._chance(f"{drawn_from}/{name}"),
        )

    def _is_for(self, event: Event) -> bool:
        """Whether the event is what the rule speaks of; only then it counts."""
        match = self.said.match
        return (
            (match.type is None or fnmatchcase(event.type, match.type))
            and (match.user is None or fnmatchcase(event.user, match.user))
            and (match.session is None or fnmatchcase(event.session, match.session))
            and (self._text is None or self._text in event.text.casefold())
            and (self._regex is None or self._regex.search(event.text) is not None)
        )

    def _is_the_time(self, event: Event, nth: int, drawn_from: str) -> bool:
        match = self.said.match
        return (
            (match.nth is None or nth == match.nth)
            and (match.every is None or nth % match.every == 0)
            and (match.after is None or nth > match.after)
            and (self._where is None or self._where.holds(_fields(event, nth, self._where)))
            and (match.probability is None or self._chance(drawn_from) < match.probability)
        )

    def _scope(self, event: Event) -> str | int:
        match self.said.match.per:
            case "user":
                return event.user
            case "session":
                return event.session
            case "connection":
                return event.connection
            case _:
                return ""

    def _count(self, scope: str | int) -> _Count:
        count = self._scopes.get(scope)
        if count is None:
            self._seen += 1
            count = self._scopes[scope] = _Count(self._seen)
            if len(self._scopes) > MOST_COUNTS:
                self._scopes.popitem(last=False)
        self._scopes.move_to_end(scope)
        count.events += 1
        return count


class _Count(msgspec.Struct):
    """How often for one scope. Its ordinal names it in chance, as ids are never the same."""

    ordinal: int
    events: int = 0


def _fields(event: Event, nth: int, where: Expression) -> dict[str, Any]:
    """What a condition asks for; the message is decoded only when it does."""
    fields: dict[str, Any] = {
        "id": event.id,
        "type": event.type,
        "session": event.session,
        "user": event.user,
        "text": event.text,
        "nth": nth,
    }
    if where.fields & {"payload", "metadata"}:
        fields |= {"payload": {}, "metadata": {}} | dict(event.message())
    return fields
