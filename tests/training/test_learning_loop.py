"""The order in which a training's iterations are told and saved."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from conf.compose import compose
from envs.scenario import Scenario
from evaluation.progress import SilentProgress
from training.commands.train import TrainCommand
from training.job import learning_loop
from training.job.learning_loop import LearningLoop


def test_iterations_are_told_before_they_are_saved(
    monkeypatch: pytest.MonkeyPatch, shop: Scenario
) -> None:
    """A run that is killed in between plays them again; the other way round it would lose them."""
    done: list[tuple[str, int]] = []
    costs = iter((4.0, 5.0, 3.0))

    class Told(SilentProgress):
        def metrics(self, step: int, values: Any) -> None:
            done.append(("told", step))

    def save(step: int, *_: object) -> None:
        done.append(("saved", step))

    def iterate(loop: LearningLoop, algorithm: object) -> dict[str, float]:
        loop.iteration += 1
        return {}

    monkeypatch.setattr(LearningLoop, "_iterate", iterate)
    monkeypatch.setattr(learning_loop, "trained_actors", lambda algorithm: {})
    monkeypatch.setattr(learning_loop, "learned_correction", lambda *_: None)
    monkeypatch.setattr(
        learning_loop, "play", lambda *_, **__: SimpleNamespace(summary=lambda: {"fill_rate": 1.0})
    )
    monkeypatch.setattr(learning_loop, "objective", lambda *_: next(costs))
    options = ["algorithm.iterations=3", "validation.every=1", "checkpoint_every=2"]
    settings = compose(TrainCommand, options).command
    scenario = replace(shop, policy_params={shop.base_policy: {}})
    store: Any = SimpleNamespace(save=save)
    LearningLoop(scenario, settings, store, Told(), base_cost=6.0).run(
        SimpleNamespace(), None, is_warm=False
    )
    assert done == [
        ("told", 1), ("saved", 1), ("told", 2), ("saved", 2), ("told", 3), ("saved", 3),
    ]  # fmt: skip
