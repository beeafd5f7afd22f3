"""Giving generations to other tools, and to people who talk to them. No stage depends on this folder."""
