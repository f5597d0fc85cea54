"""Settings: their declaration and how they are read."""
