"""What an operator types: one file per command."""
