"""Judging and exporting policies: rollouts, comparisons, bounds, the exported artifact.

Nothing is imported here: some modules need torch, and those that don't should start at once.
"""

__all__: list[str] = []
