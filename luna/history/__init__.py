"""Hygiene: tags, ledger, head, cold storage. This side speaks to git and DVC and never opens weights."""
