"""The recording's format and what may stand in it."""
