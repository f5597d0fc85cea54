"""The gateways that the specification is tried on: as the defaults are, but without pauses."""

from __future__ import annotations

from tests.gateway.conftest import house, open_house
from tests.gateway.scenarios.conftest import playing

__all__ = ["house", "open_house", "playing"]
