"""What changed, where, and how the line grows: looking at history, never changing it."""
