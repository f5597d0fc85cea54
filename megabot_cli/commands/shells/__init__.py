"""Completions for shells: fixed words, so that a TAB starts no Python."""
