"""Benchmarks: tables with the peers measured in the same run. They never fail on time."""
