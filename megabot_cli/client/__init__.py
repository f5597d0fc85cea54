"""One authenticated connection to a MegaBot endpoint."""
