"""A browser runs the specification's `ChatClient` and `StreamingChat`."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.peers.page_server import PageServer, serving_pages
from tests.peers.programs import chromium, needs
from tests.peers.stage import ANSWER, QUESTION, Stage

REPORT_LIMIT_S = 40.0


def visit(
    stage: Stage, pages: PageServer, url: str, folder: Path, page: str = "chat"
) -> dict[str, Any]:
    """Open the page, which talks to `url`; what it reports first."""
    address = f"{pages.origin}/{page}.html?{urlencode({'url': url, 'say': QUESTION})}"
    browser = stage.processes.start("chromium", chromium(address, folder / "profile"))
    try:
        return pages.reports.get(timeout=REPORT_LIMIT_S)
    except queue.Empty:
        raise AssertionError(f"the page reported nothing\n{browser.said()}") from None
    finally:
        browser.end()


def assert_answer_was_shown(report: dict[str, Any]) -> None:
    assert report["outcome"] == "answered", report
    assert report["seen"][0] == "connection_established"
    assert report["seen"].count("chat_stream") > 2
    assert report["shown"] == [
        {"classes": ["streamed", "complete"], "text": ANSWER},
        {"classes": ["received"], "text": ANSWER},
    ]


@needs("chromium")
def test_a_page_shows_the_gateways_streamed_answer(
    stage: Stage, pages: PageServer, tmp_path: Path
) -> None:
    assert_answer_was_shown(visit(stage, pages, stage.gateway_url_with_token, tmp_path))


@needs("chromium")
def test_a_page_of_a_listed_origin_talks_through_the_relay_without_a_token(
    stage: Stage, pages: PageServer, tmp_path: Path
) -> None:
    report = visit(stage, pages, stage.relay_url, tmp_path)
    assert report["origin"] == pages.origin
    assert_answer_was_shown(report)


@needs("chromium")
@pytest.mark.parametrize("whose", ["relay", "gateway"])
def test_a_page_sees_1009_for_a_message_that_is_far_too_big(
    stage: Stage, pages: PageServer, tmp_path: Path, whose: str
) -> None:
    url = stage.relay_url if whose == "relay" else stage.gateway_url_with_token
    report = visit(stage, pages, url, tmp_path, "too_big")
    assert report["code"] == 1009


@needs("chromium")
def test_the_same_page_of_a_foreign_origin_is_refused_by_the_relay(
    stage: Stage, tmp_path: Path
) -> None:
    with serving_pages() as foreign:
        report = visit(stage, foreign, stage.relay_url, tmp_path)
    # A browser tells its page no more than that it was closed; nothing was said before.
    assert (report["outcome"], report["code"], report["seen"]) == ("closed", 1006, [])
