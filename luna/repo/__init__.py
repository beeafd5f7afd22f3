"""This clone: git, locks, hooks, what a killed command left behind."""
