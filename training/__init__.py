"""Training: batched runners, algorithms, checkpoints, tracking.

Nothing is imported here: some modules need Ray or torch, and those that don't should start at
once.
"""

__all__: list[str] = []
