"""The scenario in force, for the whole gateway: its file, its plan, and who is to be refused."""

from __future__ import annotations

import asyncio
import random
import secrets
from pathlib import Path

import structlog
from aiohttp import web

from megabot_cli.errors import MegabotError
from megabot_cli.gateway.routes import Refused
from megabot_cli.gateway.scenarios.declaration import Refusal, Scenario, When, word_of
from megabot_cli.gateway.scenarios.details import detailed
from megabot_cli.gateway.scenarios.finding import find_scenario, read_text
from megabot_cli.gateway.scenarios.plan import Chance, Event, Part, Plan
from megabot_cli.gateway.scenarios.reading import read_scenario
from megabot_cli.gateway.scenarios.resetting import reset

LOOK_S = 1.0  # how often the file is looked at

log = structlog.get_logger()

Signature = tuple[int, int, int]


class Stage:
    """Give it events, do what the parts say. A file that changes is taken up while serving."""

    def __init__(self, path: Path, *, look_s: float = LOOK_S) -> None:
        """Raises BadConfiguration for a file that is not there or wrong."""
        self._path = path
        self._look_s = look_s
        self._signature = _signature(path)
        self._plan = self._read()

    @classmethod
    def open(cls, named: str) -> Stage:
        """The stage for a shipped scenario's name, or a file."""
        return cls(find_scenario(named))

    def concerns(self, when: When) -> bool:
        return self._plan.concerns(when)

    def part(self, event: Event) -> Part | None:
        part = self._plan.part(event)
        if part is not None:
            log.debug("scenario.rule_applied", rule=part.rule, when=event.when, user=event.user)
        return part

    async def watch(self) -> None:
        """Look at the file for ever. A good one takes over for what happens from then on."""
        while True:
            await asyncio.sleep(self._look_s)
            signature = await asyncio.to_thread(_signature, self._path)
            if signature == self._signature:
                continue
            self._signature = signature
            try:
                self._plan = await asyncio.to_thread(self._read)
            except MegabotError as fault:
                log.error("scenario.refused", problem=fault.message, hint=fault.hint)

    async def login(self, request: web.Request, username: str) -> float | None:
        """Do what is said about a login.

        Return how long its tokens last, if that is said. Raises Refused.
        """
        lifetime_s: float | None = None
        part = self.part(Event("login", user=username))
        for step, argument in await _admit(request, part):
            if step == "token_lifetime_s":
                lifetime_s = argument
        return lifetime_s

    async def connect(self, request: web.Request, user: str) -> bool:
        """Do what is said about a connection asked for; True: its session is to be forgotten.

        Raises Refused.
        """
        asked = request.query.get("session_id", "")
        part = self.part(Event("connect", user=user, session=asked))
        return any(step == "forget_session" for step, _ in await _admit(request, part))

    def _read(self) -> Plan:
        scenario = read_scenario(read_text(self._path), str(self._path))
        seed = scenario.seed if scenario.seed is not None else secrets.randbelow(2**31)
        log.info("scenario.loaded", file=str(self._path), rules=len(scenario.rules), seed=seed)
        return make_plan(scenario, seed)


def make_plan(scenario: Scenario, seed: int) -> Plan:
    return Plan(scenario, seeded_chance(seed))


def seeded_chance(seed: int) -> Chance:
    """Chance by name: one name has one share, whatever was asked before."""

    def chance(name: str) -> float:
        return random.Random(f"{seed}/{name}").random()  # noqa: S311 (to be repeated, not secret)

    return chance


async def _admit(request: web.Request, part: Part | None) -> list[tuple[str, float]]:
    """Wait, refuse or break as the part says; return the steps that are for the caller."""
    left: list[tuple[str, float]] = []
    for index, step in enumerate(part.steps if part is not None else ()):
        assert part is not None
        word, argument = word_of(step), detailed(step)
        if word == "delay_s":
            await asyncio.sleep(part.seconds(argument, f"step {index}"))
        elif word == "refuse":
            raise _refused(argument)
        elif word == "redirect":
            raise Refused(307, "redirected", f"Go to {argument}", Location=argument)
        elif word == "abort":
            if request.transport is not None:
                reset(request.transport)
            # Nobody will see it; an exception of another kind would be logged as our fault.
            raise Refused(503, "unavailable", "The connection was broken on purpose.")
        else:
            left.append((word, argument))
    return left


def _refused(said: Refusal) -> Refused:
    if said.retry_after_s is None:
        return Refused(said.status, said.error, said.message)
    return Refused(said.status, said.error, said.message, Retry_After=str(said.retry_after_s))


def _signature(path: Path) -> Signature | None:
    """What changes when the file does; None while there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
