"""Key figures of pairs and lanes, and of resilience."""
