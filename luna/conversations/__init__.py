"""Reads conversations, tells them apart by content, and chooses what to learn."""
