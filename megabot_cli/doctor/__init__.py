"""What stands between an operator and an answer, layer by layer. Start at `examination`."""
