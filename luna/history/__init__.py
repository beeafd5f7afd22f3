"""What happened, as git keeps it: the line, its record, its attestations."""
