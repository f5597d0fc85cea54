"""Scripted behaviour of the gateway: what a file says, and how it is done."""
