"""What answers: one interface, and the assistants behind it."""
