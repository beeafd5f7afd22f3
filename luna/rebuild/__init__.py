"""Generations made again from what is kept: the bridge between hygiene, which knows the line, and the code that opens weights."""
