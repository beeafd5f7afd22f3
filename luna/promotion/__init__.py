"""Promotion by rule: the numbers decide, and say why."""
