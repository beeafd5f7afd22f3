"""The audit of the line: what was promised is read back and compared. Verify changes nothing; repair mends from another copy."""
