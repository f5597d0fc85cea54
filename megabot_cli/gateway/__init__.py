"""MegaBot on this machine: the whole specification, answered by one process."""
