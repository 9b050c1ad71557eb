"""Policies compared, tuned, exported, tracked and used for orders.

Nothing is imported here: some modules need torch, and those that don't should start at once.
"""

__all__: list[str] = []
