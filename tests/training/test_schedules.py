"""PPO's schedules: what falls in the course of a training, and who learns first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conf.compose import compose
from envs.errors import ConfigError
from envs.scenarios import build_scenario
from tests.settings import as_shipped, training
from tests.training.conftest import small_config, small_factory
from training.commands.train import TrainCommand
from training.job.train import train
from training.rllib.ppo import BatchedPPO
from training.rllib.ppo_learner import LearningSchedule
from training.rllib.saved_state import restore_state, take_state
from training.rllib.trainer import build_algorithm

pytestmark = pytest.mark.usefixtures("ray_cluster")

FALLING: dict[str, Any] = {
    "final_share": 0.1, "final_std": 0.05, "entropy_weight": 0.02, "learning_rate": 1e-3
}  # fmt: skip


def weights_of(algorithm: BatchedPPO, part: str) -> dict[str, np.ndarray[Any, Any]]:
    """Of every kind, those whose name begins with `part`."""
    return {
        f"{kind}.{name}": np.array(values)
        for kind, weights in algorithm._runner_state()["rl_module"].items()
        for name, values in weights.items()
        if name.startswith(part)
    }


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return all(np.array_equal(values, second[name]) for name, values in first.items())


def test_only_the_critic_learns_at_first(tmp_path: Path) -> None:
    """Action and exploration stay as they are; a resumed training doesn't begin again with it."""
    algorithm = build_algorithm(small_factory(), small_config(critic_first=2))
    parts = "actor.", "std_logit", "critic."
    before = {part: weights_of(algorithm, part) for part in parts}
    algorithm.train()
    algorithm.train()
    after = {part: weights_of(algorithm, part) for part in parts}
    assert same(before["actor."], after["actor."])
    assert same(before["std_logit"], after["std_logit"])
    assert not same(before["critic."], after["critic."])
    take_state(algorithm).write(tmp_path)
    algorithm.stop()
    resumed = build_algorithm(small_factory(), small_config(critic_first=2))
    restore_state(resumed, tmp_path)
    resumed.train()
    assert not same(after["actor."], weights_of(resumed, "actor."))
    resumed.stop()


@pytest.mark.parametrize(
    ("progress", "rate", "entropy", "highest_std"),
    [(0.0, 1e-3, 0.02, 0.6), (0.5, 5e-4, 0.01, (0.6 * 0.05) ** 0.5), (1.0, 1e-4, 0.0, 0.05)],
)
def test_schedules_fall_with_progress(
    progress: float, rate: float, entropy: float, highest_std: float
) -> None:
    """The rate and the entropy's weight linearly, the ceiling of exploration in logs: where the
    learner learns and where the runner explores."""
    algorithm = build_algorithm(small_factory(), small_config(**FALLING))
    algorithm.progress = progress
    result = algorithm.train()
    told = result["learners"]["store"]
    assert told["default_optimizer_learning_rate"] == pytest.approx(rate)
    assert told["curr_entropy_coeff"] == pytest.approx(entropy)
    learner = algorithm.learner_group._learner
    (optimizer,) = (o for _, o in learner.get_optimizers_for_module("store"))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)
    for module in (learner.module["store"], algorithm.env_runner.module["store"]):
        assert float(module.highest_log_std.exp()) == pytest.approx(highest_std)
        assert 0.01 < float(module.log_std().detach().exp()) < highest_std
    algorithm.stop()


def test_without_schedules_nothing_falls() -> None:
    """The same weights at the end as at the beginning of a training, bit for bit."""
    ends = []
    for progress in (0.0, 1.0):
        algorithm = build_algorithm(small_factory(), small_config())
        algorithm.progress = progress
        algorithm.train()
        ends.append(weights_of(algorithm, ""))
        algorithm.stop()
    assert same(*ends)


def test_exploration_is_scaled_with_its_ceiling() -> None:
    """In logs, above the floor: no standard deviation is held where it has no gradient."""
    algorithm = build_algorithm(small_factory(), small_config())
    module = algorithm.learner_group._learner.module["store"]
    before = module.log_std().detach() - module.lowest_log_std
    module.set_highest_std(0.06)
    after = module.log_std() - module.lowest_log_std
    torch.testing.assert_close(after / before, torch.log(torch.tensor([6.0])) / np.log(60.0))
    assert torch.autograd.grad(after.sum(), module.std_logit)[0].abs().min() > 0.1
    algorithm.stop()


def test_a_resumed_training_goes_on_with_its_schedules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress is that of the whole training, not of the process."""
    seen: list[float] = []
    plain = BatchedPPO._schedule

    def watched(self: BatchedPPO) -> LearningSchedule:
        seen.append(self.progress)
        return plain(self)

    monkeypatch.setattr(BatchedPPO, "_schedule", watched)
    for iterations in (2, 4):
        arguments = [
            "scenario=lost_sales", "smoke=true", "algorithm=ppo", "checkpoint_every=1",
            f"algorithm.iterations={iterations}", f"out={tmp_path}",
        ]  # fmt: skip
        composed = compose(TrainCommand, arguments)
        scenario = build_scenario(composed.command.scenario)
        train(scenario, composed.command, tmp_path, Nobody())
    assert seen == [0.0, 0.5, 0.5, 0.75]


class Nobody:
    """Is told how far a training is."""

    def phase(self, text: str, total: float | None = None) -> None:
        """Not interested."""

    def update(self, done: float, text: str = "") -> None:
        """Not interested."""

    def metrics(self, step: int, values: Any) -> None:
        """Not interested."""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"final_std": 0.7}, r"final_std is 0.7; expected a number >= 0.01 and <= 0.6"),
        ({"final_std": 0.001}, r"final_std is 0.001; expected a number >= 0.01"),
        ({"final_share": 1.5}, "final_share is 1.5"),
        ({"critic_first": -1}, "critic_first is -1"),
    ],
)
def test_schedules_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    """The end of exploration must lie between the model's own bounds."""
    model = as_shipped("model", lowest_std=0.01, highest_std=0.6)
    with pytest.raises(ConfigError, match=message):
        build_algorithm(small_factory(), training(as_shipped("algorithm=ppo", **values), model))
