"""The order in which a training's iterations are told and saved."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from conf.compose import compose
from envs.policies import build_policy
from envs.scenario import Scenario
from evaluation.comparison import rollout
from evaluation.progress import SilentProgress
from training.commands.train import TrainCommand
from training.job import learning_loop
from training.job.learning_loop import LearningLoop
from training.job.validation import Validation, paired_gain

KPIS = SimpleNamespace(summary=lambda: {"fill_rate": 1.0})
Done = list[tuple[str, int]]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, shop: Scenario) -> Callable[..., Done]:
    """Gives what is told and saved, in its order: `play(costs, when_known, options)`.

    when_known: of validations whose result isn't there at once, the iteration in which it is.
    """

    def run(costs: list[float], when_known: dict[int, int], options: list[str]) -> Done:
        done: Done = []
        left = iter(costs)

        class Told(SilentProgress):
            def metrics(self, step: int, values: Any) -> None:
                assert values["time/iteration"] == step
                done.append(("told", step))

        def save(step: int, *_: object) -> None:
            done.append(("saved", step))

        def iterate(loop: LearningLoop, algorithm: object) -> dict[str, float]:
            loop.iteration += 1
            return {}

        def begin(*_: object) -> Callable[[float], Any]:
            iteration = loop.iteration

            def result(seconds: float) -> Any:
                is_known = loop.iteration >= when_known.get(iteration, iteration)
                return KPIS if is_known or seconds == math.inf else None

            return result

        monkeypatch.setattr(LearningLoop, "_iterate", iterate)
        monkeypatch.setattr(learning_loop, "trained_actors", lambda algorithm: {})
        monkeypatch.setattr(learning_loop, "take_state", lambda _: SimpleNamespace(write=None))
        monkeypatch.setattr(Validation, "begin", begin)
        monkeypatch.setattr(learning_loop, "objective", lambda *_: next(left))
        settings = compose(TrainCommand, options).command
        scenario = replace(shop, policy_params={shop.base_policy: {}})
        store: Any = SimpleNamespace(save=save)
        loop = LearningLoop(scenario, settings, store, Told(), base_cost=6.0)
        algorithm: Any = SimpleNamespace()
        loop.run(algorithm, None, is_warm=False)
        return done

    return run


def test_iterations_are_told_before_they_are_saved(play: Callable[..., Done]) -> None:
    """A run that is killed in between plays them again; the other way round it would lose them."""
    options = ["algorithm.iterations=3", "validation.every=1", "checkpoint_every=2"]
    assert play([4.0, 5.0, 3.0], {}, options) == [
        ("told", 1), ("saved", 1), ("told", 2), ("saved", 2), ("told", 3), ("saved", 3),
    ]  # fmt: skip


def test_a_gain_is_paired(shop: Scenario) -> None:
    """What every trace saves alike has no spread, however far apart traces are."""
    policy = build_policy(shop.base_policy, shop.compiled, {})
    base = rollout.play(shop, policy, traces=6, seed=1, split="tune")
    cheaper = replace(base, cost=0.9 * base.cost)
    gain = paired_gain(shop, base, cheaper)
    assert gain["validation/paired_gain"] == pytest.approx(0.1)
    mixed = replace(base, cost=base.cost * np.linspace(0.8, 1.0, 6))
    gain = paired_gain(shop, base, mixed)
    low, high = (gain[f"validation/paired_gain{end}"] for end in ("_low", "_high"))
    saved = (base.cost * np.linspace(0.2, 0.0, 6)).mean(axis=0)
    width = 2 * 2.5706 * saved.std(ddof=1) / np.sqrt(6) / base.cost.mean()  # t(0.975, 5)
    assert high - low == pytest.approx(width, rel=1e-4)
    one = rollout.play(shop, policy, traces=1, seed=1, split="tune")
    assert set(paired_gain(shop, one, one)) == {"validation/paired_gain"}


def test_the_last_iteration_is_saved(play: Callable[..., Done]) -> None:
    """Though it is neither due nor the best: who resumes goes on where learning ended."""
    options = ["algorithm.iterations=3", "validation.every=2", "checkpoint_every=100"]
    assert play([7.0, 8.0], {}, options)[-2:] == [("told", 3), ("saved", 3)]


def test_learning_goes_on_while_it_is_validated(play: Callable[..., Done]) -> None:
    """What a validation gives is told with its iteration, before what came after it."""
    options = ["algorithm.iterations=10", "validation.every=3", "checkpoint_every=5"]
    known = {3: 100, 6: 8, 9: 100}
    assert play([4.0, 3.0, 5.0, 2.0], known, options) == [
        ("told", 1), ("told", 2), ("told", 3), ("saved", 3),  # when 5 is to be saved
        ("told", 4), ("told", 5), ("saved", 5),
        ("told", 6), ("saved", 6), ("told", 7), ("told", 8),  # when it is known, in 8
        ("told", 9), ("told", 10), ("saved", 10),  # 9 isn't the best: it isn't saved
    ]  # fmt: skip
