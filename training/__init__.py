"""Training: RLlib algorithms, pathwise gradients, checkpoints, studies of many trainings.

Nothing is imported here: some modules need Ray or torch, and those that don't should start at
once.
"""

__all__: list[str] = []
