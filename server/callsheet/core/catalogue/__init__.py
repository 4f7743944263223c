"""The catalogue: cards, prices and published rules."""
