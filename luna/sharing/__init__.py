"""Generations for people and other tools: chat, server, exports; no stage imports it."""
