"""One gateway, one relay and one page server for all peers: they are strangers to each other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.peers.page_server import PageServer, serving_pages
from tests.peers.stage import Stage, open_stage


@pytest.fixture(scope="session")
def pages() -> Iterator[PageServer]:
    """An origin that the relay's operator has listed."""
    with serving_pages() as server:
        yield server


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory, pages: PageServer) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("megabot"), [pages.origin]) as stage:
        yield stage
