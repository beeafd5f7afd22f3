"""Compares two generations by what git and the ledger know, and by weights where present."""
