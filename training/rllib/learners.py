"""Calls on all learners of an algorithm, wherever they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm


def on_learners(algorithm: Algorithm, call: Callable[[Any], Any]) -> list[Any]:
    """Return what `call(learner)` gives for each; raises what one of them raised."""
    answers = [result.get() for result in algorithm.learner_group.foreach_learner(call)]
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers
