"""Analytics of one user: reading the roll-ups, and putting the answer together."""
