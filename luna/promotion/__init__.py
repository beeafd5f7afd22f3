"""Promotion by rule: the clauses, their numbers and the reports."""
