"""This clone: git, locks, hooks, and what a killed command left behind."""
