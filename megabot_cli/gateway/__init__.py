"""MegaBot on this machine: the whole specification in one process."""
