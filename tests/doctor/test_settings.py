"""What is wrong with settings beyond their types, each with the line it stands on."""

from __future__ import annotations

from pathlib import Path

import pytest

from megabot_cli.config.file_layer import read_liberally
from megabot_cli.config.load import load
from megabot_cli.doctor.settings import problems_in, problems_in_layer, values_in_force


def problems(text: str) -> list[str]:
    layer, broken = read_liberally(text, "config.yaml")
    assert broken == []
    return [f"{each.message} | {each.hint}" for each in problems_in_layer(layer)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("profiles:\n  a:\n    url: gopher://x\n", "config.yaml:3: profiles.a.url: The upstream's"),
        ("relay:\n  listen: nowhere\n", "config.yaml:2: relay.listen: 'nowhere' is no address"),
        ("relay:\n  listen: unix:short\n", "config.yaml:2: relay.listen: 'unix:short'"),
        ("relay:\n  admin_listen: unix:short\n", "config.yaml:2: relay.admin_listen: 'unix:short'"),
        ("relay:\n  tls_cert_file: /no.pem\n", "config.yaml:2: relay.tls_cert_file: /no.pem can"),
        ("recording:\n  redact_patterns: ['(']\n", "'(' is no regular expression"),
        ("profile: stagin\nprofiles:\n  staging:\n", "Did you mean 'staging'?"),
        ("relay:\n  also: [x]\n", "config.yaml:2: relay.also: there is no profile 'x'"),
        (
            "profiles:\n  a:\n    tls:\n      insecure: true\n      fingerprint: ab\n",
            "config.yaml:5: profiles.a.tls.fingerprint: tls.fingerprint 'ab' is no SHA-256",
        ),
        (
            "profiles:\n  a:\n    integrity:\n      key_file: /no/key\n",
            "config.yaml:4: profiles.a.integrity.key_file: integrity.key_file /no/key is not there",
        ),
    ],
)
def test_what_would_fail_when_used_is_told_with_its_line(text: str, says: str) -> None:
    (found,) = problems(text)
    assert says in found


def test_a_good_file_has_no_problems(tmp_path: Path) -> None:
    text = "profile: a\nprofiles:\n  a:\n    url: wss://a.example/ws\nrelay:\n  also: [default]\n"
    assert problems(text) == []
    assert problems("") == []


def test_values_of_variables_are_looked_at_too() -> None:
    found = load(environment={"MEGABOT_RELAY_LISTEN": "nowhere"})
    (problem,) = problems_in(values_in_force(found), {"default"})
    assert problem.message.startswith("MEGABOT_RELAY_LISTEN: relay.listen: ")
