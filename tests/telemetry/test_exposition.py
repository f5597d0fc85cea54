"""What /metrics answers keeps to the format's rules and to the field's naming."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from megabot_cli.errors import (
    BadData,
    ConnectionLost,
    CouldNotConnect,
    NotAuthenticated,
    NotPermitted,
    RateLimited,
    TimedOut,
    UpstreamRefused,
)
from megabot_cli.relay.executions import REFUSALS, Claim
from megabot_cli.relay.link_life import LinkState, Verdict
from megabot_cli.relay.routing import Route
from megabot_cli.telemetry.exposition import WORDS, RelayCollector, exposition
from megabot_cli.telemetry.metrics import RelayNumbers, example_gauges
from tests.telemetry.log_calls import PACKAGE

# Base units, and what is counted: https://prometheus.io/docs/practices/naming/
_NO_BASE_UNIT = re.compile(r"_(ms|milliseconds|minutes|hours|kb|mb|kilobytes|percent)(_|$)")


def scrape(numbers: RelayNumbers | None = None) -> str:
    collector = RelayCollector(numbers or RelayNumbers(), example_gauges, "1.2.3")
    return exposition(collector).decode()


def families(text: str | None = None) -> dict[str, Metric]:
    parsed = text_string_to_metric_families(text or scrape())
    return {family.name: family for family in parsed}


def ours() -> dict[str, Metric]:
    return {n: family for n, family in families().items() if n.startswith("megabot_")}


def test_there_is_everything_that_the_relay_promises_to_show() -> None:
    promised = {
        "links", "clients", "sessions", "executors", "taps", "strangers", "ring_messages",
        "ring_bytes", "upstream_queue_messages", "outbox_bytes", "clients_behind",
        "dropped_messages", "merged", "clients_closed", "link_losses", "dials", "reconnects",
        "resumes", "auth_refreshes", "token_expiry_timestamp_seconds", "first_chunk_seconds",
        "reply_seconds", "forward_seconds", "handshake_seconds", "event_loop_lag_seconds",
        "recorder_lag_seconds", "recorder_queue_records", "recorder_dropped_records",
        "recorder_disk_full", "bytes", "messages", "typed_messages", "refusals", "routes",
        "recoveries", "rate_limit_waits", "invalid", "link_up_seconds", "start_time_seconds",
        "tls_insecure", "ready", "tls_certificate_end_timestamp_seconds",
    }  # fmt: skip
    assert not promised - {name.removeprefix("megabot_relay_") for name in ours()}


@pytest.mark.parametrize(
    "name", [n for n in ours() if n != "megabot_relay_build_info"], ids=lambda n: n[14:]
)
def test_every_metric_is_named_by_the_rules_and_explained(name: str) -> None:
    family = ours()[name]
    assert re.fullmatch(r"megabot_relay_[a-z0-9]+(_[a-z0-9]+)*", name)
    assert not _NO_BASE_UNIT.search(name)
    assert not name.endswith(("_total", "_count", "_sum", "_bucket"))
    assert len(family.documentation) > 10
    assert family.documentation.endswith(".")
    assert family.type in ("counter", "gauge", "histogram")
    for sample in family.samples:
        assert sample.value == sample.value, "no metric is NaN"
        if family.type == "counter":
            assert sample.name == f"{name}_total"
            assert sample.value >= 0
    if "seconds" in name:
        assert name.endswith("seconds"), "the unit comes last"


def test_no_metric_and_no_series_is_there_twice() -> None:
    text = scrape()
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    series = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert [name for name, count in Counter(series).items() if count > 1] == []


def test_promtool_finds_nothing_to_say() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: `bash .ci/peers` installs Debian's prometheus")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=scrape(), text=True, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_label_has_no_more_values_than_its_list_whatever_peers_write() -> None:
    numbers = RelayNumbers()
    before = {name: len(family.samples) for name, family in families(scrape(numbers)).items()}
    for number in range(500):
        word = f"made-up-{number}"
        for counts in (numbers.routes, numbers.refusals, numbers.error_answers, numbers.drops):
            counts[word] += 1
        for coded in (numbers.clients_closed, numbers.link_losses):
            coded[3000 + number] += 1
    after = families(scrape(numbers))
    assert {name: len(family.samples) for name, family in after.items()} == before
    others = {
        sample.labels["code"]: sample.value
        for sample in after["megabot_relay_clients_closed"].samples
    }
    assert others["other"] == 500


def test_every_label_value_is_there_before_anything_has_happened() -> None:
    states = {sample.labels["state"] for sample in ours()["megabot_relay_links"].samples}
    assert states == {state.value for state in LinkState}
    assert {sample.value for sample in ours()["megabot_relay_refusals"].samples} == {0}


def test_the_lists_of_label_values_are_the_relays_own_words() -> None:
    assert set(WORDS["state"]) == {state.value for state in LinkState}
    assert set(WORDS["verdict"]) == {verdict.value for verdict in Verdict}
    assert set(WORDS["claim"]) == {claim.value for claim in Claim} | {
        "left",
        "given_back",
        "given_again",
    }
    routes = {value for name, value in vars(Route).items() if name.isupper()}
    assert set(WORDS["route"]) == routes


def test_histograms_count_up_to_infinity() -> None:
    numbers = RelayNumbers()
    for seconds in (0.0005, 0.02, 100.0):
        numbers.reply_s.observe(seconds)
    samples = families(scrape(numbers))["megabot_relay_reply_seconds"].samples
    buckets = [s.value for s in samples if s.name.endswith("_bucket")]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 3
    assert next(s.value for s in samples if s.name.endswith("_sum")) == pytest.approx(100.0205)


def test_the_process_is_measured_too() -> None:
    names = set(families())
    assert {"process_cpu_seconds", "process_resident_memory_bytes", "process_open_fds"} <= names


# Whose argument at which place is a label's value; and which counters are written by name.
_WORD_AT = {
    ("refuse", 3): "error",
    ("Overflow", 1): "error",
    ("Objection", 1): "error",
    ("Refusal", 1): "refusal",
}
_COUNTERS = {
    "refusals": "refusal",
    "drops": "drop",
    "tool_results": "claim",
    "recoveries": "recovery",
    "error_answers": "error",
}


def words_in_the_source() -> Iterator[tuple[str, str, str]]:
    """List of values, word, and where it is written."""
    for path in sorted((PACKAGE / "relay").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for words, found in (*_said(node), *_counted(node)):
                if isinstance(found, ast.Constant) and isinstance(found.value, str):
                    yield words, found.value, f"{path.name}:{found.lineno}"


def _said(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func).rpartition(".")[2]
        for (function, place), words in _WORD_AT.items():
            if name == function and len(node.args) > place:
                yield words, node.args[place]


def _counted(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute):
        words = _COUNTERS.get(node.value.attr)
        if words is not None:
            yield words, node.slice


def test_every_word_that_the_relay_counts_is_on_its_list() -> None:
    found = list(words_in_the_source())
    assert len(found) > 15
    assert [each for each in found if each[1] not in WORDS[each[0]]] == []
    assert {word for word, _ in REFUSALS.values()} <= set(WORDS["error"])


def test_every_fault_of_a_dial_is_on_its_list() -> None:
    # What `client.dial` and `client.tokens` raise.
    kinds = (
        CouldNotConnect, ConnectionLost, NotAuthenticated, NotPermitted, RateLimited, TimedOut,
        UpstreamRefused, BadData,
    )  # fmt: skip
    assert {kind.code for kind in kinds} == set(WORDS["fault"])
