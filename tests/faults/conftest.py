"""Real processes for every test of this room."""

from tests.support.processes import processes

__all__ = ["processes"]
