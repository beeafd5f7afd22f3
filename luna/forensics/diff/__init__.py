"""Two generations beside each other: what git, the ledger and the small artifacts know of them, and weights where they are at hand."""
