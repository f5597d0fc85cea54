"""What an operator sees: streams, colour, width, tables."""
