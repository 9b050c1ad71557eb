"""Serving: replenishment recommendations over HTTP from an exported policy.

Nothing is imported here: `echelon serve --help` should answer at once.
"""

__all__: list[str] = []
