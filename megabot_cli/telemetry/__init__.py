"""Numbers and logs."""
