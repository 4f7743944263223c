"""May this be spent: caps and allowances."""
