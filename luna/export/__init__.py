"""From 16-bit weights to the file that ships, and the proof that it says the same."""
