"""A scenario file is right, or one is told where it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megabot_cli.errors import BadConfiguration
from megabot_cli.gateway.scenarios.declaration import STEPS, WORDS, Word
from megabot_cli.gateway.scenarios.describing import described
from megabot_cli.gateway.scenarios.documents import scenario_schema
from megabot_cli.gateway.scenarios.finding import find_scenario, shipped_scenarios
from megabot_cli.gateway.scenarios.reading import read_scenario

SHIPPED = [
    "auth-trouble", "collaboration", "flaky-network", "happy", "slow-model", "tool-heavy",
]  # fmt: skip
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("text", "told", "hint"),
    [
        ("ruls: []", "f.yaml:1: ruls: there is no word 'ruls'", "'rules'"),
        ("rules:\n- steps:\n  - replay: a", ":3: rules[0].steps[0].replay", "'reply'"),
        ("rules:\n- steps:\n  - pass\n  - dropp", ":4: rules[0].steps[1]", "'drop'"),
        ("rules:\n- steps:\n  - stream: {txt: a}", "steps[0].stream.txt", "'text'"),
        ("rules:\n- when: opn\n  steps: [pass]", ":2: rules[0].when", "'open'"),
        ("rules:\n- steps: [{malformed: bin}]", "steps[0].malformed", "'binary'"),
        ("rules:\n- match: {tpye: a}\n  steps: [pass]", ":2: rules[0].match.tpye", "'type'"),
        ("rules:\n- match: {per: conection}\n  steps: [pass]", "match.per", "'connection'"),
        ("rules:\n- steps: [{close: 70000}]", "expected int <= 4999", "man"),
        ("rules:\n- steps: [{delay_s: [2, 1]}]", "begins above its end", "man"),
        ("rules:\n- steps: [{reply: a, close: 1000}]", "reply and close", "of its own"),
        ("rules:\n- steps: [abort, pass]", "nothing can follow 'abort'", "Remove"),
        ("rules:\n- when: login\n  steps: [{reply: a}]", "'reply' is no step", "refuse"),
        ("rules:\n- when: login\n  match: {type: a}\n  steps: [pass]", "'type' says no", "user"),
        ("rules:\n- steps: [{reply: 'a ${txet}'}]", "${txet}", "'text'"),
        ("rules:\n- steps: [{reply: 'a ${tool}'}]", "${tool}", "nth"),
        ("rules:\n- match: {where: 'nth ='}\n  steps: [pass]", "column 5", "example"),
        ("rules:\n- match: {regex: '(a'}\n  steps: [pass]", "expression at character 1", "man"),
        ("rules:\n- name: x", "'steps' is missing", "man"),
        ("rules: [", "f.yaml:1", "quotes"),
        ("rules:\n- {on: message, steps: [pass]}", "rules[0]: there is no such word", "yes, on"),
        ("rules:\n- steps: [{1: 2}]", "steps[0]: there is no word 1 here", "man"),
        ("- a", "holds no settings", "name: value"),
        ("rules: []\nrules: []", "set twice", "Remove"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place_and_the_nearest_word(
    text: str, told: str, hint: str
) -> None:
    with pytest.raises(BadConfiguration) as caught:
        read_scenario(text, "f.yaml")
    assert told in caught.value.message
    assert hint in str(caught.value.hint)


WRONG_ALL_OVER = """\
sed: 4
rules:
- when: mesage
  steps: [{reply: a}]
- name: 7
  match: {tpye: a, regex: '(a', nth: 0}
  steps:
  - replay: a
  - reply: 'a ${txet}'
  - abort
  - stream: {txt: a}
- steps: [pass, {delay_s: [2, 1]}]
- when: login
  steps: [{reply: a}]
"""


def test_all_that_is_wrong_is_told_each_with_its_line_and_path() -> None:
    with pytest.raises(BadConfiguration) as caught:
        read_scenario(WRONG_ALL_OVER, "f.yaml")
    first, *faults = caught.value.message.splitlines()
    assert first == "f.yaml has 12 faults"
    assert [each.split(": ")[:2] for each in faults] == [
        ["  f.yaml:1", "sed"],
        ["  f.yaml:3", "rules[0].when"],
        ["  f.yaml:5", "rules[1].name"],
        ["  f.yaml:6", "rules[1].match.tpye"],
        ["  f.yaml:6", "rules[1].match.nth"],
        ["  f.yaml:8", "rules[1].steps[0].replay"],
        ["  f.yaml:11", "rules[1].steps[3].stream.txt"],
        ["  f.yaml:6", "rules[1].match.regex"],
        ["  f.yaml:9", "rules[1].steps[1].reply"],
        ["  f.yaml:11", "rules[1].steps[3]"],
        ["  f.yaml:12", "rules[2].steps[1].delay_s"],
        ["  f.yaml:14", "rules[3].steps[0]"],
    ]
    assert faults[1].endswith("there is no word 'mesage' here (Did you mean 'message'?)")


def test_what_a_wrong_call_would_have_named_is_no_second_fault() -> None:
    wrong = "{tool_call: {tol: a, save_as: b}}"
    text = f"rules:\n- steps: [{wrong}, {{reply: '${{b.output}} ${{tool.status}}'}}]"
    with pytest.raises(BadConfiguration) as caught:
        read_scenario(text, "f.yaml")
    assert "'tol'" in caught.value.message


def test_a_result_is_known_after_its_call() -> None:
    text = "rules:\n- steps: [{tool_call: {tool: a, save_as: b}}, {reply: '${b.output}'}]"
    assert read_scenario(text, "f.yaml").rules


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.sampled_from(WORDS)
        | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*WORDS, "rules", "steps", "match", "when", "where", "text"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=8,
    )
)
def test_any_values_are_a_scenario_or_told_to_be_none(value: Any) -> None:
    text = json.dumps({"rules": [{"steps": [value], "match": value}]})
    try:
        described(read_scenario(text, "f.yaml"))
    except BadConfiguration as fault:
        assert fault.message.startswith("f.yaml")  # noqa: PT017  either outcome is right


def test_every_word_has_a_place_and_every_place_has_words() -> None:
    assert frozenset(WORDS) == frozenset().union(*STEPS.values())


def test_every_word_is_in_the_manual() -> None:
    page = (ROOT / "man" / "megabot-scenarios.5").read_text()
    assert [word for word in WORDS if word not in page] == []


def test_the_schema_knows_the_words_of_the_code() -> None:
    schema = json.loads(scenario_schema())
    step = schema["$defs"]["Step"]
    assert step["maxProperties"] == 1
    assert {*step["properties"], *get_args(Word)} == set(WORDS)


def test_the_shipped_files_are_these() -> None:
    assert sorted(shipped_scenarios()) == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_file_is_good_and_says_what_it_is_for(name: str) -> None:
    path = find_scenario(name)
    text = path.read_text()
    scenario = read_scenario(text, path.name)
    assert scenario.description
    assert scenario.seed is not None
    assert all(rule.name for rule in scenario.rules)
    first = text.splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (path.parent / first.partition("=")[2]).is_file()
    assert len(described(scenario)) == len(scenario.rules)


def test_a_name_that_is_none_has_a_hint() -> None:
    with pytest.raises(BadConfiguration, match="no scenario 'hapy'") as caught:
        find_scenario("hapy")
    assert caught.value.hint == "Did you mean 'happy'?"
    with pytest.raises(BadConfiguration, match="no scenario file"):
        find_scenario("not/there.yaml")
