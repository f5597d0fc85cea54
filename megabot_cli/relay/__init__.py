"""The process between local clients and the upstream."""
