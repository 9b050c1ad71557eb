"""A scenario as tables and pictures."""
