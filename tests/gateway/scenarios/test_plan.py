"""Which rule is played, when: plain calls, no gateway."""

from __future__ import annotations

from collections.abc import Iterable

from megabot_cli.gateway.scenarios.plan import MOST_COUNTS, Event, Plan
from megabot_cli.gateway.scenarios.reading import read_scenario
from megabot_cli.gateway.scenarios.stage import seeded_chance


def plan_of(*rules: str, seed: int = 1) -> Plan:
    lines = "".join(f"- {{{rule}}}\n" for rule in rules)
    return Plan(read_scenario(f"rules:\n{lines}", "test"), seeded_chance(seed))


def said(text: str, **more: object) -> Event:
    return Event("message", type="chat_send", text=text, **more)  # type: ignore[arg-type]


def played(plan: Plan, events: Iterable[Event]) -> str:
    """One character for each event: the number of its rule, or a dash."""
    return "".join(part.rule[-1] if (part := plan.part(each)) else "-" for each in events)


def test_the_first_rule_that_matches_is_played() -> None:
    plan = plan_of("match: {text: a}, steps: [pass]", "steps: [drop]")
    assert played(plan, [said("bab"), said("c")]) == "12"


def test_counts_begin_with_what_the_rule_is_for() -> None:
    plan = plan_of(
        "match: {text: a, nth: 2}, steps: [pass]", "match: {text: a, every: 2}, steps: [drop]"
    )
    assert played(plan, [said(each) for each in "abaaaaa"]) == "--12-2-"


def test_after_and_where_see_the_same_count() -> None:
    plan = plan_of("match: {after: 2, where: nth % 2 == 0}, steps: [pass]")
    assert played(plan, [said("x")] * 7) == "---1-1-"


def test_counting_can_be_for_each_connection_session_or_user() -> None:
    for scope in ("connection", "session", "user"):
        plan = plan_of(f"match: {{per: {scope}, nth: 2}}, steps: [pass]")
        first = said("x", connection=1, session="s1", user="ada")
        second = said("x", connection=2, session="s2", user="bob")
        assert played(plan, [first, second, second, first, first]) == "--11-"


def test_patterns_are_wild() -> None:
    plan = plan_of("match: {type: 'chat_*', user: 'a?a', session: 'sess_[ab]'}, steps: [pass]")
    assert (
        played(
            plan, [said("", user="ada", session="sess_a"), said("", user="ada", session="sess_c")]
        )
        == "1-"
    )


def test_a_payload_is_decoded_only_when_it_is_named() -> None:
    asked = []

    def message() -> dict[str, dict[str, int]]:
        asked.append(1)
        return {"payload": {"a": 1}}

    event = said("x", message=message)
    assert played(plan_of("match: {where: nth == 1}, steps: [pass]"), [event]) == "1"
    assert asked == []
    assert played(plan_of("match: {where: payload.a == 1}, steps: [pass]"), [event]) == "1"
    assert asked == [1]


def test_the_same_seed_makes_the_same_choices_whatever_else_happens() -> None:
    rules = (
        "match: {text: a, probability: 0.3}, steps: [pass]",
        "match: {text: b, probability: 0.5}, steps: [drop]",
    )
    alone = played(plan_of(*rules), [said("a")] * 50)
    mixed = played(plan_of(*rules), [said("a"), said("b")] * 50)
    assert mixed[::2] == alone
    assert 5 <= alone.count("1") <= 25
    assert alone != played(plan_of(*rules, seed=2), [said("a")] * 50)


def test_choices_do_not_depend_on_names_that_change() -> None:
    rule = "match: {per: session, probability: 0.5}, steps: [pass]"
    runs = [
        played(plan_of(rule), [said("x", session=f"{name}{number % 3}") for number in range(40)])
        for name in ("old", "new")
    ]
    assert runs[0] == runs[1]


def test_a_range_gives_seconds_within_it_by_the_seed() -> None:
    parts = [plan_of("steps: [{delay_s: [0.1, 0.5]}]").part(said("x")) for _ in range(2)]
    drawn = [part.seconds([0.1, 0.5], "step 0") for part in parts if part]
    assert drawn[0] == drawn[1]
    assert 0.1 <= drawn[0] <= 0.5


def test_counts_of_those_long_gone_are_forgotten() -> None:
    plan = plan_of("match: {per: connection, nth: 2}, steps: [pass]")
    played(plan, (said("x", connection=number) for number in range(MOST_COUNTS + 1)))
    assert played(plan, [said("x", connection=0), said("x", connection=MOST_COUNTS)]) == "-1"
