"""Verify compares everything with what was sealed; repair mends it from another copy."""
