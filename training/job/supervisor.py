"""A training goes on from its last good checkpoint where Ray loses what it needs."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ray.exceptions import RayError
from ray.rllib.algorithms.algorithm import Algorithm

from envs.errors import TrainingStopped
from evaluation.artifact.actor import Actor
from training.job.checkpoint import Checkpoint
from training.job.learning_loop import LearningLoop

_MOST_LOSSES = 3  # in a row, without a new checkpoint between them

_log = logging.getLogger(__name__)


def learn(
    build: Callable[[], Algorithm],
    begin: Callable[[Algorithm], bool],
    loop: LearningLoop,
    checkpoint: Checkpoint | None,
) -> dict[str, Actor]:
    """Learn to the end, and return the best models.

    build: gives an algorithm with untrained models.
    begin: gives it what learning begins with; returns whether that is trained already.
    checkpoint: to go on from; None: from the beginning.

    Raises:
        TrainingStopped: a learner was lost again and again.
    """
    losses, reached = 0, -1
    while True:
        algorithm = None
        try:
            algorithm = build()
            is_warm = checkpoint is None and begin(algorithm)
            loop.run(algorithm, checkpoint, is_warm)
            return loop.best_actors(algorithm)
        except RayError as lost:
            cause = " ".join(str(lost).split()).partition(". ")[0]
            checkpoint = loop.newest()
            step = checkpoint.step if checkpoint is not None else 0
            losses, reached = 1 if step > reached else losses + 1, step
            if losses > _MOST_LOSSES:
                raise TrainingStopped(
                    f"a learner was lost {losses} times without a new checkpoint, after iteration "
                    f"{step}; Ray: {cause}. Look for its end in Ray's logs, such as too little "
                    "memory; resume the run afterwards."
                ) from lost
            _log.warning("A learner was lost (%s): going on from iteration %d.", cause, step)
        finally:
            if algorithm is not None:  # else its learner was lost before it was there
                algorithm.stop()
